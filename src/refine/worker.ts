// The process of a refinement: runs one job and sends its events to the control process.
import { serveRun } from '../train/process.ts'
import { refine } from './refine.ts'

serveRun(refine)
