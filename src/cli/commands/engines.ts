import { configure, enginesFolder } from '../../base/config.ts'
import { AthanorError, fail } from '../../base/errors.ts'
import { findOnDemand, installOnDemand, type OnDemandName, onDemand } from '../../engine/on-demand.ts'
import type { GlobalOptions } from '../context.ts'
import { Terminal } from '../terminal.ts'

const names = Object.keys(onDemand) as OnDemandName[]

/** Lists engines, or installs one that is not part of the installation. */
export async function engines(action: string | undefined, name: string | undefined, options: GlobalOptions) {
  const out = new Terminal(options)
  const folder = enginesFolder(configure())
  if (action === 'install') {
    const known = names.find((one) => one === name)
    if (!known)
      throw fail('OPTION_INVALID', { option: 'engine', reason: `installed on demand are ${names.join(' and ')}` })
    await installOnDemand(known, folder, (line) => out.say(line))
  } else if (action !== undefined) throw fail('OPTION_INVALID', { option: 'action', reason: 'expected "install"' })
  const found = await Promise.all(
    names.map(async (engine) => {
      const library = await findOnDemand(engine, folder).catch((error: AthanorError) => error)
      return library instanceof AthanorError
        ? { engine, state: 'missing', note: library.hint }
        : { engine, state: 'installed', note: library }
    }),
  )
  const own = ['onnx', 'remote'].map((engine) => ({ engine, state: 'installed', note: '' }))
  const list = [...own, ...found]
  if (out.json) return out.document(list)
  out.table(
    ['ENGINE', 'STATE', ''],
    list.map(({ engine, state, note }) => [engine, state, note]),
  )
}
