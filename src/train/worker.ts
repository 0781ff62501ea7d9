// The training process: runs one job and sends its events to the control process.
import { serveRun } from './process.ts'
import { train } from './train.ts'

serveRun(train)
