import { fail } from '../../base/errors.ts'
import { GraphBuilder, type Value } from '../../graph/builder.ts'
import * as o from '../../graph/ops.ts'
import type { Dim } from '../../graph/shape.ts'
import { dataTypes, float32, type Tensor } from '../../graph/tensor.ts'
import type { ReadModel } from '../formats.ts'
import { invalid } from '../source.ts'
import { type Argument, isList, isReference, type Layer, type Model, type Reference } from './config.ts'
import { dtypeOf, layers } from './layers.ts'
import { type Masked, Place } from './place.ts'

/** Where a layer's weights are: `part` names a part of the layer as .keras files do, `count` is how many it has. */
export interface Weights {
  take(layer: Layer, model: Model, part: string, count: number): Tensor[]
  /** The weights of the layers of a model inside a model. */
  inside(layer: Layer, model: Model): Weights
}

const CALL_LIMIT = 20_000

/** Layers that make one vector of a sequence by its mask. */
const endsMask = new Set(['SimpleRNN', 'LSTM', 'GRU', 'Bidirectional', 'GlobalAveragePooling1D'])

/**
 * A Keras model as an ONNX graph; inputs and outputs are named by their layers. `masksPadding` tells whether steps with
 * the id 0 change nothing, wherever they stand. Throws UNSUPPORTED or FORMAT_INVALID.
 */
export function kerasGraph(model: Model, weights: Weights, version: number): ReadModel {
  const graph = new GraphBuilder()
  const masks = { made: false, lost: false }
  const inputs = model.inputs.map(({ layer }): Masked => {
    const found = model.layers.find(({ name }) => name === layer)
    if (!found) throw invalid('Keras', `the input "${layer.slice(0, 80)}" is no layer`)
    return { value: declaredInput(graph, found) }
  })
  const outputs = o.within(graph, () => build(graph, model, weights, version, inputs, masks))
  model.outputs.forEach(({ layer }, i) => {
    const same = model.outputs.filter((one) => one.layer === layer).length > 1
    graph.output(outputs[i].value, same ? `${layer}_${i}` : layer)
  })
  return { model: graph.build(model.name.slice(0, 100)), masksPadding: masks.made && !masks.lost }
}

function declaredInput(graph: GraphBuilder, { name, config }: Layer): Value {
  const shape = config.batch_shape ?? config.batch_input_shape
  if (!isList(shape) || shape.length === 0 || shape.length > 8)
    throw invalid('Keras', `input "${name.slice(0, 80)}" has no shape`)
  const dtype = dtypeOf(config, 'float32')
  if (!['float32', 'int32', 'int64', 'bool'].includes(dtype) || !Object.hasOwn(dataTypes, dtype)) {
    throw fail('UNSUPPORTED', {
      what: `the type ${String(dtype).slice(0, 40)} of the Keras input "${name.slice(0, 80)}"`,
      instead: 'float32, int32, int64 and bool are read. Text is cut into ids by the pipeline, not by the model.',
    })
  }
  const dims = shape.map((dim, i): Dim => {
    if (dim === null) return i === 0 ? 'batch' : i === 1 ? 'time' : `${name}_${i}`
    if (typeof dim !== 'number' || !Number.isInteger(dim) || dim < 0)
      throw invalid('Keras', `input "${name}" has no shape`)
    return i === 0 ? 'batch' : dim
  })
  return graph.input(name, dtype, dims)
}

/** Adds the layers of a model that is called with the given inputs. */
function build(
  graph: GraphBuilder,
  model: Model,
  weights: Weights,
  version: number,
  inputs: readonly Masked[],
  masks: { made: boolean; lost: boolean },
): Masked[] {
  const byName = new Map(model.layers.map((layer) => [layer.name, layer]))
  if (byName.size !== model.layers.length) throw invalid('Keras', 'two layers of one name')
  const results = new Map<string, Masked[]>()
  const open = new Set<string>()
  const places = new Map<string, { place: Place; taken: Map<string, Tensor[]> }>()
  let calls = 0
  model.inputs.forEach(({ layer }, i) => {
    results.set(`${layer}#0`, [inputs[i] ?? missing(layer)])
  })

  /** A layer that is called twice has its weights stored once. */
  const placeOf = (layer: Layer) => {
    let known = places.get(layer.name)
    if (!known) {
      const taken = new Map<string, Tensor[]>()
      const take = (part: string, count: number) => {
        const stored = taken.get(part) ?? weights.take(layer, model, part, count)
        taken.set(part, stored)
        return stored
      }
      known = { place: new Place(graph.scope(layer.name), layer, version, take), taken }
      places.set(layer.name, known)
    }
    return known.place
  }
  const resolve = ({ layer: name, call, tensor }: Reference): Masked => {
    const key = `${name}#${call}`
    let found = results.get(key)
    if (!found) {
      const layer = byName.get(name)
      const uses = layer?.calls[call]
      if (!layer || !uses) throw invalid('Keras', `"${name.slice(0, 80)}" is used but is no layer of the model`)
      if (open.has(key) || ++calls > CALL_LIMIT) throw invalid('Keras', `layer "${name.slice(0, 80)}" feeds itself`)
      open.add(key)
      const values = flat(uses.args).map((argument) =>
        isReference(argument) ? resolve(argument) : constant(graph, layer, argument),
      )
      const kwargs: Record<string, Masked> = {}
      for (const [kwarg, argument] of Object.entries(uses.kwargs)) {
        const list = flat([argument])
        if (list.length === 1 && isReference(list[0])) kwargs[kwarg] = resolve(list[0])
        else if (!neutral(kwarg, argument)) refuseArgument(layer, kwarg)
      }
      if (layer.model)
        found = build(graph.scope(name), layer.model, weights.inside(layer, model), version, values, masks)
      else {
        const rule = Object.hasOwn(layers, layer.className) ? layers[layer.className] : undefined
        if (!rule) throw unsupported(layer)
        const dtype = dtypeOf(layer.config, 'float32')
        if (!['float32', 'int32', 'int64', 'bool'].includes(dtype)) placeOf(layer).refuse(`the type ${String(dtype)}`)
        // a mask that was given by name goes before the one that came with the value
        const [first, ...others] = values
        const masked = first && kwargs.mask ? [{ ...first, mask: kwargs.mask.value }, ...others] : values
        const result = rule(placeOf(layer), masked, kwargs)
        masks.made ||= result.mask !== undefined
        masks.lost ||= !result.mask && masked.some(({ mask }) => mask) && !endsMask.has(layer.className)
        found = [result]
      }
      open.delete(key)
      results.set(key, found)
    }
    return found[tensor] ?? missing(name)
  }
  return model.outputs.map(resolve)
}

const flat = (args: readonly Argument[]): Argument[] =>
  args.flatMap((argument) => (isList(argument) ? flat(argument as readonly Argument[]) : [argument]))

/** Arguments that only say how training goes, or say nothing. */
const neutral = (kwarg: string, argument: Argument) => {
  if (kwarg === 'training') return true
  return 'constant' in argument && [null, undefined, false].includes(argument.constant as null)
}

function refuseArgument({ className, name }: Layer, what: string): never {
  throw fail('UNSUPPORTED', {
    what: `the argument ${what.slice(0, 80)} of the Keras layer ${className} "${name.slice(0, 80)}"`,
    instead: 'Export the model to ONNX instead.',
  })
}
function constant(graph: GraphBuilder, layer: Layer, argument: Argument): Masked {
  const number = 'constant' in argument ? argument.constant : undefined
  if (typeof number !== 'number') return refuseArgument(layer, 'that is a constant')
  return { value: graph.constant(float32([], [number])), constant: number }
}

function missing(name: string): never {
  throw invalid('Keras', `"${name.slice(0, 80)}" lacks an input or output that is used`)
}

function unsupported({ className, name }: Layer) {
  const code = className === 'Lambda' ? ' (it holds program code, which is never run)' : ''
  return fail('UNSUPPORTED', {
    what: `the Keras layer ${className} "${name.slice(0, 80)}"${code}`,
    instead: `Layers that are read: ${Object.keys(layers).join(', ')}.`,
  })
}
