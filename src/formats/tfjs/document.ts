import type { Source } from '../source.ts'

/** The document of a source: model.json, or the one file whose name ends so. */
export const modelJson = (source: Source): string | undefined =>
  source.names.find((name) => /(^|\/)[\w.-]*\.json$/.test(name))

/** Whether a document says that it is a model of this kind. */
export function isTfjs(source: Source, kind: 'layers-model' | 'graph-model'): boolean {
  const name = modelJson(source)
  if (!name) return false
  const head = new TextDecoder().decode(source.read(name).subarray(0, 4096))
  if (head.includes(`"${kind}"`)) return true
  return (
    kind === 'layers-model' &&
    /"modelTopology"/.test(head) &&
    !head.includes('"graph-model"') &&
    /"model_config"/.test(head)
  )
}
