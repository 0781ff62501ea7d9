// The thread that looks after its process: it also looks while the process is busy, and needs no help of another one.
import { workerData } from 'node:worker_threads'

const LOOK = 20

const limits = new Float64Array(workerData as SharedArrayBuffer)
const parent = process.ppid
setInterval(() => {
  const { user, system } = process.cpuUsage()
  const orphan = process.ppid !== parent
  if (orphan || user + system > limits[0] || process.memoryUsage.rss() > limits[1]) process.kill(process.pid, 'SIGKILL')
}, LOOK)
