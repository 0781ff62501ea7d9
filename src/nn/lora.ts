import type { Network } from '../autograd/training.ts'
import * as o from '../graph/ops.ts'

/** Named weights. */
type Weights = Record<string, { dims: readonly number[]; data: Float32Array }>

const [DOWN, UP] = ['lora.down', 'lora.up']
/** Matrices that stay as they are: tables of vectors. */
const tables = /(^|\/)(embedding|positions|head)\/$/

/**
 * The network with all its parameters frozen and a product of two narrow matrices added to each matrix `weight` within
 * its layers (Hu et al. 2021, with a scale of 2): only those are trained. What is built on it need not know.
 */
export function lowRank(network: Network, rank: number, path = ''): Network {
  return {
    ...network,
    scope: (name) => lowRank(network.scope(name), rank, `${path}${name}/`),
    parameter(name, dims, init, options) {
      const whole = network.parameter(name, dims, init, { ...options, trainable: false })
      if (name !== 'weight' || dims.length !== 2 || tables.test(path)) return whole
      const [outputs, inputs] = dims
      const down = network.parameter(DOWN, [rank, inputs], { kind: 'uniform', bound: 1 / Math.sqrt(inputs) })
      const up = network.parameter(UP, [outputs, rank], { kind: 'zeros' })
      return o.within(network.graph, () => o.add(whole, o.mul(o.matMul(up, down), SCALE)))
    },
  }
}
const SCALE = 2

/** The weights with the products of `lowRank` added to the matrices they belong to. */
export function mergeLowRank(weights: Weights): Weights {
  const merged: Weights = {}
  for (const [name, weight] of Object.entries(weights)) {
    if (name.endsWith(`/${DOWN}`) || name.endsWith(`/${UP}`)) continue
    const place = name.replace(/weight$/, '')
    const [down, up] = [weights[place + DOWN], weights[place + UP]]
    if (!down || !up || !name.endsWith('weight')) {
      merged[name] = weight
      continue
    }
    const [rank, inputs] = down.dims
    const data = Float32Array.from(weight.data)
    for (let row = 0; row < up.dims[0]; row++) {
      for (let r = 0; r < rank; r++) {
        const factor = SCALE * up.data[row * rank + r]
        for (let i = 0; i < inputs; i++) data[row * inputs + i] += factor * down.data[r * inputs + i]
      }
    }
    merged[name] = { dims: weight.dims, data }
  }
  return merged
}
