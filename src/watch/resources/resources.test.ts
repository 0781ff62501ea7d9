import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { platform, tmpdir, totalmem } from 'node:os'
import { dirname, join } from 'node:path'
import { after, test } from 'node:test'
import { readCgroup } from './cgroup.ts'
import { Gpus, parseGpus } from './gpu.ts'
import { readMachine } from './machine.ts'
import { ownUse, useOf } from './processes.ts'

const folder = mkdtempSync(join(tmpdir(), 'athanor-resources-'))
after(() => rmSync(folder, { recursive: true }))

function tree(name: string, files: Record<string, string>): [proc: string, mount: string] {
  for (const [path, text] of Object.entries(files)) {
    const file = join(folder, name, path)
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, text)
  }
  return [join(folder, name, 'proc'), join(folder, name, 'cgroup')]
}

test('control groups of version 2: the smallest limit of those above counts', () => {
  const found = readCgroup(
    ...tree('two', {
      'proc/self/cgroup': '0::/pods/one\n',
      'cgroup/pods/one/cgroup.procs': '',
      'cgroup/pods/one/memory.max': 'max\n',
      'cgroup/pods/one/memory.current': '1000\n',
      'cgroup/pods/one/cpu.max': '50000 100000\n',
      'cgroup/pods/one/cpu.stat': 'usage_usec 2500000\nthrottled_usec 500000\n',
      'cgroup/pods/cgroup.procs': '',
      'cgroup/pods/memory.max': '4096\n',
      'cgroup/pods/memory.current': '3000\n',
      'cgroup/pods/cpu.max': 'max 100000\n',
    }),
  )
  assert.deepEqual(found, {
    version: 2,
    memory: 3000,
    memoryLimit: 4096,
    processorsLimit: 0.5,
    cpuSeconds: 2.5,
    throttledSeconds: 0.5,
  })
})

test('control groups of version 1, also as a container sees them: its own at the root', () => {
  const inside = {
    'cgroup/memory/memory.limit_in_bytes': '2048\n',
    'cgroup/memory/memory.usage_in_bytes': '1024\n',
    'cgroup/cpu/cpu.cfs_quota_us': '150000\n',
    'cgroup/cpu/cpu.cfs_period_us': '100000\n',
    'cgroup/cpu/cpu.stat': 'nr_periods 3\nthrottled_time 1000000000\n',
    'cgroup/cpuacct/cpuacct.usage': '3000000000\n',
  }
  const groups = '5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n0::/\n'
  const found = readCgroup(...tree('one', { 'proc/self/cgroup': groups, ...inside }))
  assert.deepEqual(found, {
    version: 1,
    memory: 1024,
    memoryLimit: 2048,
    processorsLimit: 1.5,
    cpuSeconds: 3,
    throttledSeconds: 1,
  })
  const free = { 'cgroup/memory/memory.limit_in_bytes': '9223372036854771712\n', 'cgroup/cpu/cpu.cfs_quota_us': '-1\n' }
  const unlimited = readCgroup(...tree('free', { 'proc/self/cgroup': groups, ...inside, ...free }))
  assert.deepEqual([unlimited?.memoryLimit, unlimited?.processorsLimit], [undefined, undefined])
  assert.equal(readCgroup(join(folder, 'none'), folder), undefined)
})

test('what nvidia-smi prints is read; a machine without it has no GPU, and is not asked again', async () => {
  const [first, second] = parseGpus(
    '0, GPU-1, NVIDIA H100 80GB HBM3, 37, 81559, 1024, 71.50, 31\n1, GPU-2, Old Card, [N/A], 2048, 12, [Not Supported], 50\n',
  )
  assert.deepEqual(first, {
    index: 0,
    uuid: 'GPU-1',
    name: 'NVIDIA H100 80GB HBM3',
    utilization: 0.37,
    memory: 81559 * 2 ** 20,
    memoryUsed: 2 ** 30,
    watts: 71.5,
    temperature: 31,
  })
  assert.deepEqual([second.utilization, second.watts, second.temperature], [undefined, undefined, 50])
  assert.deepEqual(await new Gpus('athanor-no-such-program').ask(), [])
})

test('a process’s use is read where the system tells it', { skip: platform() !== 'linux' }, async () => {
  const own = ownUse()
  assert.ok(own.rss > 1e6 && own.cpuSeconds > 0 && own.threads! >= 1 && own.handles! >= 3)
  const child = spawn(process.execPath, ['-e', 'console.log(process.memoryUsage.rss()); setInterval(() => {}, 1000)'])
  const [told] = (await child.stdout.take(1).toArray()) as Buffer[]
  const use = useOf(child.pid!)!
  assert.ok(Math.abs(use.rss / Number(told) - 1) < 0.5, `${use.rss} ${told}`)
  child.kill('SIGKILL')
  await new Promise((resolve) => child.once('close', resolve))
  assert.equal(useOf(child.pid!), undefined)
})

test('the machine is read', () => {
  const { host, disk } = readMachine(folder)
  assert.ok(host.processors >= 1 && host.available <= totalmem() && disk!.free <= disk!.size)
  assert.equal(readMachine(join(folder, 'no such folder')).disk, undefined)
})
