import { fail } from '../../base/errors.ts'
import type { GraphBuilder, Value } from '../../graph/builder.ts'
import * as o from '../../graph/ops.ts'
import type { Tensor } from '../../graph/tensor.ts'
import { invalid } from '../source.ts'
import { activationName, activations } from './activations.ts'
import { isList, isObject, type Json } from './config.ts'

/** A tensor of a Keras model, and which of its steps are valid: mask bool (batch, time), where Keras would have one. */
export interface Masked {
  readonly value: Value
  readonly mask?: Value
  /** The number itself, where an argument is a constant. */
  readonly constant?: number
}

/** The weights of a layer or of a part of it, in Keras' order. */
export type TakeWeights = (part: string, count: number) => Tensor[]

/** A layer under construction: its configuration, read with care, and the graph that it is added to. */
export class Place {
  readonly graph: GraphBuilder
  readonly className: string
  readonly name: string
  readonly config: Json
  /** Keras' major version, on which some defaults depend. */
  readonly version: number
  readonly #take: TakeWeights

  constructor(
    graph: GraphBuilder,
    layer: { className: string; name: string; config: Json },
    version: number,
    take: TakeWeights,
  ) {
    this.graph = graph
    this.className = layer.className
    this.name = layer.name
    this.config = layer.config
    this.version = version
    this.#take = take
  }

  get where(): string {
    return `${this.className} "${this.name.slice(0, 80)}"`
  }

  /** Throws UNSUPPORTED naming the layer. */
  refuse(what: string): never {
    throw fail('UNSUPPORTED', {
      what: `${what} of the Keras layer ${this.where}`,
      instead: 'Replace it in Keras and save the model again, or export the model to ONNX.',
    })
  }
  /** A layer whose description does not fit. */
  invalid(reason: string): never {
    throw invalid('Keras', `layer ${this.where}: ${reason}`)
  }

  number(key: string, absent?: number): number {
    const value = this.config[key] ?? absent
    if (typeof value !== 'number' || !Number.isFinite(value)) return this.invalid(`${key} is not a number`)
    return value
  }
  size(key: string): number {
    const value = this.number(key)
    if (!Number.isInteger(value) || value < 1 || value > 2 ** 31) this.invalid(`${key} is not a size`)
    return value
  }
  flag(key: string, absent = false): boolean {
    return Boolean(this.config[key] ?? absent)
  }
  text(key: string, absent: string): string {
    const value = this.config[key] ?? absent
    return typeof value === 'string' ? value : this.invalid(`${key} is not a text`)
  }
  /** One whole number an axis: a single one stands for all. */
  sizes(key: string, count: number, absent = 1): number[] {
    const value = this.config[key] ?? absent
    const list = typeof value === 'number' ? Array<unknown>(count).fill(value) : value
    if (!isList(list) || list.length !== count || !list.every((one) => Number.isInteger(one) && Number(one) >= 0))
      return this.invalid(`${key} does not give ${count} sizes`)
    return list.map(Number)
  }
  /** Refuses settings that would change what the layer computes and are not read. */
  only(settings: Record<string, unknown>) {
    for (const [key, expected] of Object.entries(settings)) {
      const value = this.config[key]
      if (value !== undefined && value !== null && value !== expected)
        this.refuse(`the setting ${key}=${JSON.stringify(value)?.slice(0, 40)}`)
    }
  }
  activation(x: Value, key = 'activation', absent = 'linear'): Value {
    return activations[this.activationName(key, absent)](x, this.version)
  }
  activationName(key: string, absent: string): string {
    return activationName(key in this.config ? this.config[key] : absent, this.where) // null is linear
  }

  weights(part: string, count: number): Tensor[] {
    return this.#take(part, count)
  }
  /** A weight as a value, once its shape is known to be right (`null` fits any size). */
  stored(name: string, tensor: Tensor, dims: readonly (number | null)[]): Value {
    this.check(name, tensor, dims)
    return this.graph.initializer(name, tensor)
  }
  check(name: string, tensor: Tensor, dims: readonly (number | null)[]) {
    const fits = tensor.dims.length === dims.length && dims.every((dim, i) => dim === null || dim === tensor.dims[i])
    if (tensor.dtype !== 'float32') this.refuse(`${tensor.dtype} weights`)
    if (!fits) this.invalid(`${name} has the shape [${tensor.dims}], expected [${dims.map((dim) => dim ?? '?')}]`)
  }
  /** The size of an axis, which a weight's shape depends on. */
  known(x: Value, axis: number): number {
    const dim = x.shape.at(axis)
    return typeof dim === 'number' ? dim : this.invalid(`axis ${axis} of its input has no fixed size`)
  }
  one(inputs: readonly Masked[]): Masked {
    return inputs.length === 1 ? inputs[0] : this.invalid(`${inputs.length} inputs instead of one`)
  }
  /** The layer that this one wraps; its weights are those of `part`, if that is given. */
  inner(key: string, part?: string): Place {
    const value = this.config[key]
    if (!isObject(value) || !isObject(value.config)) return this.invalid(`${key} is not described`)
    const className = String(value.class_name).replace(/^.*>/, '').slice(0, 80)
    const layer = { className, name: `${this.name}/${className}`, config: value.config }
    const take: TakeWeights = (inside, count) => this.#take([part, inside].filter(Boolean).join('/'), count)
    return new Place(this.graph, layer, this.version, take)
  }
  /** Adds `x` to the last axis' bias. */
  biased(x: Value, bias: Value | undefined): Value {
    return bias ? o.add(x, bias) : x
  }
}
