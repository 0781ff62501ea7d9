// Where every room gets onnxruntime from: with its telemetry off.
import './no-telemetry.ts'

export { default } from 'onnxruntime-node'
