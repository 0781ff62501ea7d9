import {
  byEngine,
  bySeries,
  byVersion,
  counter,
  door,
  gauge,
  histogram,
  type Metric,
  one,
  type Sample,
  version,
  writing,
} from './readers.ts'

/** Our own names. Times are seconds, sizes bytes. */
export const ownNames: readonly Metric[] = [
  counter(
    'athanor_requests_total',
    'Inference requests answered',
    door,
    bySeries(({ answered }) => answered),
  ),
  counter(
    'athanor_rows_total',
    'Texts, images or tensors answered',
    door,
    bySeries(({ rows }) => rows),
  ),
  counter(
    'athanor_request_errors_total',
    'Inference requests that failed, by error code',
    [...door, 'code'],
    ({ series }) =>
      series.flatMap((one) =>
        [...one.codes].map(([code, count]): Sample => [[one.model, one.version, one.door, code], count]),
      ),
  ),
  histogram(
    'athanor_request_duration_seconds',
    'Time from receiving a request to its answer',
    door,
    bySeries((s) => s.duration),
  ),
  histogram(
    'athanor_queue_seconds',
    'Time a request waited before its batch was formed',
    door,
    bySeries((s) => s.queue),
  ),
  histogram(
    'athanor_preprocess_seconds',
    'Time to make a round of requests ready for the graph',
    door,
    bySeries((s) => s.pre),
  ),
  histogram(
    'athanor_run_seconds',
    'Time to run the batch that a request was in',
    door,
    bySeries((s) => s.run),
  ),
  histogram(
    'athanor_postprocess_seconds',
    'Time to take a request’s answer out of its batch',
    door,
    bySeries((s) => s.post),
  ),
  histogram(
    'athanor_batch_size',
    'Rows in the batch that a request was in',
    door,
    bySeries((s) => s.batch),
  ),
  histogram(
    'athanor_first_token_seconds',
    'Time from receiving a generation to its first token',
    door,
    bySeries((s) => s.firstToken),
  ),
  histogram(
    'athanor_between_tokens_seconds',
    'Time between a token and the one before it',
    door,
    bySeries((s) => s.betweenTokens),
  ),
  counter('athanor_tokens_total', 'Tokens of prompts read and of texts written', [...version, 'kind'], (state) => [
    ...[...byVersion((s) => s.promptTokens, writing)(state)].map(
      ([labels, value]): Sample => [[...labels, 'prompt'], value],
    ),
    ...[...byVersion((s) => s.completionTokens, writing)(state)].map(
      ([labels, value]): Sample => [[...labels, 'completion'], value],
    ),
  ]),
  gauge(
    'athanor_drift_distance',
    'Jensen-Shannon divergence of the last window of requests from the held-out rows',
    [...version, 'feature'],
    ({ drifted }) =>
      drifted.flatMap(({ model, version, distances }) =>
        Object.entries(distances).map(([name, { distance }]): Sample => [[model, String(version), name], distance]),
      ),
  ),
  gauge(
    'athanor_drift_level',
    'The divergence from which on it is not normal',
    [...version, 'feature'],
    ({ drifted }) =>
      drifted.flatMap(({ model, version, distances }) =>
        Object.entries(distances).map(([name, { level }]): Sample => [[model, String(version), name], level]),
      ),
  ),
  gauge(
    'athanor_estimated_accuracy',
    'Share of recent answers that are right, estimated without labels',
    version,
    ({ drifted }) =>
      drifted.flatMap(({ model, version, estimatedAccuracy }): Sample[] =>
        estimatedAccuracy === undefined ? [] : [[[model, String(version)], estimatedAccuracy]],
      ),
  ),
  gauge('athanor_alerts_open', 'Alerts that are open, by rule', ['rule'], ({ openAlerts }) =>
    [...openAlerts].map(([rule, count]): Sample => [[rule], count]),
  ),
  gauge(
    'athanor_engine_waiting',
    'Requests waiting for or in an engine',
    version,
    byEngine(({ waiting }) => waiting),
  ),
  gauge(
    'athanor_engine_resident_memory_bytes',
    'Resident memory of an engine',
    version,
    byEngine(({ use }) => use?.rss),
  ),
  counter(
    'athanor_engine_cpu_seconds_total',
    'Processor time an engine has used since its start',
    version,
    byEngine(({ use }) => use?.cpuSeconds),
  ),
  gauge(
    'athanor_engine_threads',
    'Threads of an engine',
    version,
    byEngine(({ use }) => use?.threads),
  ),
  gauge(
    'athanor_engine_open_handles',
    'Open file descriptors of an engine',
    version,
    byEngine(({ use }) => use?.handles),
  ),
  counter('athanor_engine_crashes_total', 'Deaths of engine processes', version, ({ crashes }) =>
    [...crashes].map(([key, count]): Sample => [key.split('@'), count]),
  ),
  gauge(
    'athanor_training_runs_active',
    'Training runs going on or queued',
    [],
    one(({ activeRuns }) => activeRuns),
  ),
  histogram('athanor_http_duration_seconds', 'Time to answer an HTTP request', ['method', 'route', 'status'], (state) =>
    [...state.http].map(([key, buckets]): Sample => [key.split(' '), buckets]),
  ),
  gauge(
    'athanor_event_loop_delay_seconds',
    'Delay of the server’s event loop since the last scrape',
    ['percentile'],
    (state) => [...state.delay].map(([percentile, value]): Sample => [[percentile], value]),
  ),
  gauge(
    'athanor_host_processors',
    'Processors of the machine',
    [],
    one(({ machine }) => machine.host.processors),
  ),
  gauge(
    'athanor_host_load1',
    'Processes that ran or waited for a processor, mean of the last minute',
    [],
    one(({ machine }) => machine.host.load),
  ),
  gauge(
    'athanor_host_memory_bytes',
    'Memory of the machine',
    [],
    one(({ machine }) => machine.host.memory),
  ),
  gauge(
    'athanor_host_memory_available_bytes',
    'Memory of the machine that can be had without swapping',
    [],
    one(({ machine }) => machine.host.available),
  ),
  gauge(
    'athanor_cgroup_memory_bytes',
    'Memory used in the control group of the server',
    [],
    one(({ machine }) => machine.cgroup?.memory),
  ),
  gauge(
    'athanor_cgroup_memory_limit_bytes',
    'Memory that the control group may use',
    [],
    one(({ machine }) => machine.cgroup?.memoryLimit),
  ),
  gauge(
    'athanor_cgroup_processors_limit',
    'Processors that the control group may use',
    [],
    one(({ machine }) => machine.cgroup?.processorsLimit),
  ),
  counter(
    'athanor_cgroup_throttled_seconds_total',
    'Time that the control group was held back at its limit of processors',
    [],
    one(({ machine }) => machine.cgroup?.throttledSeconds),
  ),
  gauge(
    'athanor_disk_bytes',
    'Size of the disk that the data folder is on',
    [],
    one(({ machine }) => machine.disk?.size),
  ),
  gauge(
    'athanor_disk_free_bytes',
    'Free room on the disk that the data folder is on',
    [],
    one(({ machine }) => machine.disk?.free),
  ),
  gauge(
    'process_resident_memory_bytes',
    'Resident memory of the server process',
    [],
    one(({ server }) => server.rss),
  ),
  counter(
    'process_cpu_seconds_total',
    'Processor time the server process has used',
    [],
    one(({ server }) => server.cpuSeconds),
  ),
  gauge(
    'process_threads',
    'Threads of the server process',
    [],
    one(({ server }) => server.threads),
  ),
  gauge(
    'process_open_fds',
    'Open file descriptors of the server process',
    [],
    one(({ server }) => server.handles),
  ),
]
