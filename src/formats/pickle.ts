import { fail } from '../base/errors.ts'
import type { Source } from './source.ts'
import { isZip, listZip } from './zip.ts'

/**
 * Refuses Python pickles whatever their name (UNSUPPORTED): loading one runs the program in it. PyTorch's files are a zip
 * with `data.pkl`, or a bare pickle; so are joblib's and NumPy's object files.
 */
export function refusePickles(source: Source) {
  for (const name of source.names) {
    if (!isPickle(source.read(name))) continue
    throw fail('UNSUPPORTED', {
      what: `"${name.slice(0, 80)}", a Python pickle (as PyTorch writes .pt, .pth and .bin),`,
      instead:
        'Reading one would run code. Convert it: safetensors.torch.save_file(model.state_dict(), "model.safetensors")',
    })
  }
}

const PROTOCOLS = [2, 3, 4, 5]
/** Text of protocol 0 begins with an opcode that names a class or a container: `c`, `(`, `]`, `}`. */
const OLD = /^(c[\w.]+\n[\w.]+\n|\((?:[lidt]|[cVS]|I\d)|\]q|\}q)/

function isPickle(bytes: Uint8Array): boolean {
  if (isZip(bytes)) {
    try {
      return listZip(bytes, 'archive').some(({ name }) => /(^|\/)(data|constants)\.pkl$|\.pkl$/.test(name))
    } catch {
      return false // not an archive that can be read: its own format says so
    }
  }
  // protocol 2 and on: begins with its number, from 4 on with a frame, and ends with the opcode STOP
  if (bytes[0] === 0x80 && PROTOCOLS.includes(bytes[1]) && (bytes[2] === 0x95 || bytes.at(-1) === 0x2e)) return true
  // TorchScript's and NumPy's headers may come before; joblib compresses
  const head = new TextDecoder('latin1').decode(bytes.subarray(0, 200))
  if (head.startsWith('\x93NUMPY') && /'descr':\s*'\|O'/.test(head)) return true
  return OLD.test(head)
}
