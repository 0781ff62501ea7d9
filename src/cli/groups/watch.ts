import type { TopOptions } from '../commands/top.ts'
import { type CommandGroup, option, type ServerCall } from '../entry.ts'

export const watchCommands: CommandGroup = {
  title: 'Watch',
  commands: [
    {
      name: 'ps [run]',
      aliases: ['runs'],
      summary: 'Show training runs and engines; of one run, what it has told, why it failed and how to go on',
      brief: 'Show training runs and engines, or one run',
      example: 'athanor ps --all',
      options: [
        option('--all', 'finished runs too'),
        option('--remove', 'end this run for good and remove what it keeps to go on with; what it told stays'),
      ],
      needs: 'server',
      act: async ({ context, args: [run], options }: ServerCall<{ all?: boolean; remove?: boolean }>) => {
        if (options.remove) return (await import('../commands/runs.ts')).removeRun(context, run)
        if (run === undefined) return (await import('../commands/watch.ts')).ps(context, options)
        return (await import('../commands/runs.ts')).tellOf(context, run)
      },
    },
    {
      name: 'top',
      summary: 'Show requests, errors, latencies and tokens of the last quarter of an hour, and go on until Ctrl-C',
      brief: 'Requests, errors and latencies as they come',
      example: 'athanor top --by model,version',
      options: [
        option('--by <parts>', 'a line for each model, version or door, or several of these (model)'),
        option('--once', 'end after the first look'),
      ],
      needs: 'server',
      act: async ({ context, options }: ServerCall<TopOptions>) =>
        (await import('../commands/top.ts')).top(context, options),
    },
    {
      name: 'drift <model>',
      summary: 'Show how requests compare with the held-out rows of a version, and the estimated accuracy',
      example: 'athanor drift sentiment@champion',
      options: [
        option('--compare-with <file>', 'register the next version, compared with these rows, of an imported model'),
      ],
      needs: 'server',
      act: async ({ context, args, options }) =>
        (await import('../commands/drift.ts')).drift(context, args[0], options),
    },
    {
      name: 'feedback <request> <label>',
      summary: 'Tell the right label of an answered request',
      example: 'athanor feedback req_1k8bq2fid3cf4ubro positive',
      options: [option('--row <number>', 'which text of the request, from 0')],
      needs: 'server',
      act: async ({ context, args, options }) =>
        (await import('../commands/drift.ts')).feedback(context, args[0], args[1], options),
    },
    {
      name: 'alerts',
      summary: 'Show open alerts; set the rules that open them',
      example: 'athanor alerts --add "p99 > 500ms over 5m" --model sentiment',
      options: [
        option('--all', 'past ones too'),
        option('--silence <id>', 'keep one from being told of again'),
        option('--minutes <number>', 'with --silence: for so long (for good)'),
        option('--rules', 'the rules'),
        option('--add <rule>', 'set a rule, e.g. "p99 > 500ms over 5m" or "burn 99.9%"'),
        option('--name <name>', 'with --add: what to call it (its first word)'),
        option('--model <name>', 'with --add: of this model alone (all)'),
        option('--remove <name>', 'end a rule'),
      ],
      needs: 'server',
      act: async ({ context, options }) => (await import('../commands/alerts.ts')).alerts(context, options),
    },
    {
      name: 'logs',
      summary: 'Show the stored log',
      example: 'athanor logs --errors --model sentiment',
      options: [
        option('--errors', 'warnings and errors only'),
        option('--model <name>', 'of one model'),
        option('--code <code>', 'of one error code'),
        option('--request <id>', 'of one request'),
        option('--since <time>', 'from this time on (ISO 8601)'),
        option('--limit <number>', 'how many (50)'),
        option('--follow', 'go on until Ctrl-C'),
      ],
      needs: 'server',
      act: async ({ context, options }) => (await import('../commands/watch.ts')).logs(context, options),
    },
    {
      name: 'errors [fingerprint]',
      summary: 'Show errors that are alike: how often, when, and the newest requests; of one, its stack',
      example: 'athanor errors --model sentiment',
      options: [option('--model <name>', 'of one model'), option('--code <code>', 'of one error code')],
      needs: 'server',
      act: async ({ context, args, options }) =>
        (await import('../commands/failures.ts')).errors(context, args[0], options),
    },
    {
      name: 'requests',
      summary: 'Show logged requests',
      example: 'athanor requests --model sentiment --code OVERLOADED',
      options: [
        option('--model <name>', 'of one model'),
        option('--code <code>', 'that failed so'),
        option('--door <name>', 'of one protocol'),
        option('--request <id>', 'one request'),
        option('--since <time>', 'from this time on (ISO 8601)'),
        option('--limit <number>', 'how many (50)'),
      ],
      needs: 'server',
      act: async ({ context, options }) => (await import('../commands/failures.ts')).requests(context, options),
    },
  ],
}
