/** A node by what it does, reads and gives. */
interface Node {
  readonly opType: string
  readonly input: readonly string[]
  readonly output: readonly string[]
}

/**
 * The values (batch, time, width) that the layers of a Transformer give, by name: its own layers and an encoder's of BERT's
 * kind are known by the parameters of their normalisation. None of other networks.
 */
export function layerStates(nodes: readonly Node[]): string[] {
  const norms = new Map(
    nodes.flatMap((node) => (node.opType === 'LayerNormalization' ? [[node.input[1], node] as const] : [])),
  )
  const found: string[] = []
  for (let layer = 0; ; layer++) {
    const after = norms.get(`layer.${layer}/feedForward/norm/scale`)?.output[0]
    const within = norms.has(`layer.${layer}/feedForward/scale`)
    const next = norms.get(`layer.${layer + 1}/attention/scale`) ?? norms.get('last/scale')
    const state = after ?? (within ? next?.input[0] : undefined)
    if (state === undefined) return found
    found.push(state)
  }
}
