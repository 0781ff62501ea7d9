import { configure, enginesFolder } from '../../base/config.ts'
import { AthanorError, fail } from '../../base/errors.ts'
import { findLlama, installLlama } from '../../engine/llama/install.ts'
import type { GlobalOptions } from '../context.ts'
import { Terminal } from '../terminal.ts'

/** Lists engines, or installs one that is not part of the installation. */
export async function engines(action: string | undefined, name: string | undefined, options: GlobalOptions) {
  const out = new Terminal(options)
  const folder = enginesFolder(configure())
  if (action === 'install') {
    if (name !== 'llama')
      throw fail('OPTION_INVALID', { option: 'engine', reason: 'only "llama" is installed on demand' })
    await installLlama(folder, (line) => out.say(line))
  } else if (action !== undefined) throw fail('OPTION_INVALID', { option: 'action', reason: 'expected "install"' })
  const llama = await findLlama(folder).catch((error: AthanorError) => error)
  const list = [
    { engine: 'onnx', state: 'installed', note: '' },
    llama instanceof AthanorError
      ? { engine: 'llama', state: 'missing', note: llama.hint }
      : { engine: 'llama', state: 'installed', note: llama },
    { engine: 'remote', state: 'installed', note: '' },
  ]
  if (out.json) return out.document(list)
  out.table(
    ['ENGINE', 'STATE', ''],
    list.map(({ engine, state, note }) => [engine, state, note]),
  )
}
