interface Processor {
  type?: unknown
  processors?: unknown
  single?: unknown
  pair?: unknown
  special_tokens?: unknown
}
const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null

/**
 * Whether each token that a tokenizer.json puts around texts (`TemplateProcessing`) is described in it: the `tokenizers` library
 * ends the whole process where one is not.
 */
export function templateHolds(postProcessor: unknown): boolean {
  if (!isObject(postProcessor)) return true
  const { type, processors, single, pair, special_tokens: tokens } = postProcessor as Processor
  if (type === 'Sequence') return Array.isArray(processors) && processors.every(templateHolds)
  if (type !== 'TemplateProcessing') return true
  if (!isObject(tokens)) return false
  const described = ([name, token]: [string, unknown]) =>
    isObject(token) && token.id === name && listed(token.ids) && listed(token.tokens, token.ids.length)
  const known = (piece: unknown) => {
    const id = isObject(piece) && isObject(piece.SpecialToken) ? piece.SpecialToken.id : undefined
    return id === undefined || (typeof id === 'string' && Object.hasOwn(tokens, id))
  }
  const pieces = [single, pair].map((template) => (Array.isArray(template) ? template : []))
  return Object.entries(tokens).every(described) && pieces.flat().every(known)
}

const listed = (value: unknown, length?: number): value is unknown[] =>
  Array.isArray(value) && (length === undefined || value.length === length)
