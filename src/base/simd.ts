/**
 * Arithmetic on float32 vectors that lie in one memory shared by threads, compiled to WebAssembly which takes four
 * elements at a time and passes over the vectors once (WebAssembly core specification 2.0, shared memories and 64-bit
 * addresses as in 3.0).
 */

/** An element of a vector, a scalar, or what is computed from them. */
export type Expression =
  | { readonly vector: string }
  | { readonly scalar: string }
  | { readonly opcode: number; readonly operands: readonly Expression[] }

export const vector = (name: string): Expression => ({ vector: name })
export const scalar = (name: string): Expression => ({ scalar: name })

const operation =
  <Operands extends Expression[]>(opcode: number) =>
  (...operands: Operands): Expression => ({ opcode, operands })
type Pair = [Expression, Expression]
export const sqrt = operation<[Expression]>(0xe3)
export const add = operation<Pair>(0xe4)
export const sub = operation<Pair>(0xe5)
export const mul = operation<Pair>(0xe6)
export const div = operation<Pair>(0xe7)

/** Named vectors of one length in one memory; every thread that is sent it sees the same. */
export interface Vectors {
  readonly names: readonly string[]
  /** Elements of each; a multiple of LANES. */
  readonly length: number
  readonly memory: WebAssembly.Memory
  readonly pages: number
  /** Bits of an address. Accesses by 64 are checked, which costs a little. */
  readonly address: 32 | 64
}

const LANES = 4
const PAGE = 65_536
/** Pages that 32 bits reach. */
const NARROW = 65_536

/** Zeros. Throws a RangeError when there is not so much memory (16 GiB is the most). */
export function vectors(names: readonly string[], atLeast: number, address?: 32 | 64): Vectors {
  const length = alignUp(atLeast)
  const pages = Math.max(1, Math.ceil((names.length * length * 4) / PAGE))
  const bits = address ?? (pages > NARROW ? 64 : 32)
  const size = bits === 64 ? (BigInt(pages) as unknown as number) : pages // the type knows of 32 bits alone
  const descriptor = { initial: size, maximum: size, shared: true, ...(bits === 64 && { address: 'i64' as const }) }
  return { names, length, memory: new WebAssembly.Memory(descriptor), pages, address: bits }
}

/** The next multiple of 64 bytes, counted in elements: vectors and parameters that begin there are read fastest. */
export const alignUp = (elements: number) => Math.ceil(elements / 16) * 16

/** One of the vectors, in place. */
export const view = (all: Vectors, name: string) => new Float32Array(all.memory.buffer, offsetOf(all, name), all.length)

function offsetOf({ names, length }: Vectors, name: string): number {
  const place = names.indexOf(name)
  if (place < 0) throw new TypeError(`no vector "${name}"`)
  return place * length * 4
}

/**
 * What to do with each element: vectors that are replaced, all by values from before, and what to add up. The sum is
 * kept in float32, so it is for stretches of some thousand elements.
 */
export interface Pass {
  readonly scalars: readonly string[]
  readonly replace?: Readonly<Record<string, Expression>>
  readonly sum?: Expression
}

/** Runs a pass over the elements from `start` to `end` (multiples of 4) and returns the sum. */
export type Kernel = (start: number, end: number, scalars: Readonly<Record<string, number>>) => number

export function compile(all: Vectors, pass: Pass): Kernel {
  const module = new WebAssembly.Module(encode(all, pass))
  const { exports } = new WebAssembly.Instance(module, { '': { '': all.memory } })
  const run = exports.run as (...args: (number | bigint)[]) => number
  const address = (element: number) => (all.address === 64 ? BigInt(element * 4) : element * 4)
  return (start, end, scalars) =>
    start < end ? run(address(start), address(end), ...pass.scalars.map((name) => scalars[name])) : 0
}

const [I32, I64, F32, V128] = [0x7f, 0x7e, 0x7d, 0x7b]
const [LOCAL_GET, LOCAL_SET, LOCAL_TEE, LOOP, BRANCH_IF, END] = [0x20, 0x21, 0x22, 0x03, 0x0d, 0x0b]
const SIMD = 0xfd
const [LOAD, STORE, SPLAT, EXTRACT, ADD] = [0, 11, 19, 31, 0xe4]
const F32_ADD = 0x92

/** The module: one function `run(at, end, ...scalars) → sum` over a memory that it imports. */
function encode(all: Vectors, pass: Pass): Uint8Array<ArrayBuffer> {
  const wide = all.address === 64
  const pointer = wide ? I64 : I32
  const [constant, addPointer, less] = wide ? [0x42, 0x7c, 0x54] : [0x41, 0x6a, 0x49]
  const parameters = [pointer, pointer, ...pass.scalars.map(() => F32)]
  const [at, end] = [0, 1]

  // locals of 128 bits: a scalar in all lanes each, the sum, then whatever is used more than once
  let locals = parameters.length
  const lanes = new Map(pass.scalars.map((name) => [name, locals++]))
  const sum = locals++
  const replaced = Object.entries(pass.replace ?? {}).map(([name, value]) => ({ name, value, local: locals++ }))
  const roots = [...replaced.map(({ value }) => value), ...(pass.sum ? [pass.sum] : [])]
  const shared = new Map([...repeated(roots)].map((one) => [one, { local: locals++, known: false }]))

  const access = (opcode: number, name: string) => simd(opcode, 4, ...unsigned(offsetOf(all, name)))
  const evaluate = (expression: Expression): number[] => {
    const again = shared.get(expression)
    if (again?.known) return [LOCAL_GET, ...unsigned(again.local)]
    const code =
      'vector' in expression
        ? [LOCAL_GET, at, ...access(LOAD, expression.vector)]
        : 'scalar' in expression
          ? [LOCAL_GET, ...unsigned(lanes.get(expression.scalar)!)]
          : [...expression.operands.flatMap(evaluate), ...simd(expression.opcode)]
    if (!again) return code
    again.known = true
    return [...code, LOCAL_TEE, ...unsigned(again.local)]
  }
  const body = [
    ...pass.scalars.flatMap((name, i) => [LOCAL_GET, 2 + i, ...simd(SPLAT), LOCAL_SET, ...unsigned(lanes.get(name)!)]),
    ...[LOOP, 0x40],
    ...replaced.flatMap(({ value, local }) => [...evaluate(value), LOCAL_SET, ...unsigned(local)]),
    ...(pass.sum
      ? [LOCAL_GET, ...unsigned(sum), ...evaluate(pass.sum), ...simd(ADD), LOCAL_SET, ...unsigned(sum)]
      : []),
    ...replaced.flatMap(({ name, local }) => [LOCAL_GET, at, LOCAL_GET, ...unsigned(local), ...access(STORE, name)]),
    ...[LOCAL_GET, at, constant, 4 * LANES, addPointer, LOCAL_TEE, at, LOCAL_GET, end, less, BRANCH_IF, 0, END],
    ...[0, 1, 2, 3].flatMap((lane) => [LOCAL_GET, ...unsigned(sum), ...simd(EXTRACT, lane)]),
    ...[F32_ADD, F32_ADD, F32_ADD, END],
  ]
  const code = [1, ...unsigned(locals - parameters.length), V128, ...body]
  const pages = unsigned(all.pages)
  return Uint8Array.of(
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [1, 0x60, ...unsigned(parameters.length), ...parameters, 1, F32]),
    ...section(2, [1, 0, 0, 2, wide ? 7 : 3, ...pages, ...pages]),
    ...section(3, [1, 0]),
    ...section(7, [1, 3, ...Buffer.from('run'), 0, 0]),
    ...section(10, [1, ...unsigned(code.length), ...code]),
  )
}

/** Expressions that occur more than once among the roots and what they are made of. */
function repeated(roots: readonly Expression[]): Set<Expression> {
  const seen = new Set<Expression>()
  const twice = new Set<Expression>()
  const visit = (expression: Expression) => {
    if ('scalar' in expression) return
    if (seen.has(expression)) twice.add(expression)
    else {
      seen.add(expression)
      if ('operands' in expression) expression.operands.forEach(visit)
    }
  }
  roots.forEach(visit)
  return twice
}

const section = (id: number, content: number[]) => [id, ...unsigned(content.length), ...content]
const simd = (opcode: number, ...immediates: number[]) => [SIMD, ...unsigned(opcode), ...immediates]

/** LEB128. */
function unsigned(value: number): number[] {
  const bytes: number[] = []
  for (let rest = value; ; ) {
    const low = rest % 128
    rest = Math.floor(rest / 128)
    bytes.push(rest ? low + 128 : low)
    if (!rest) return bytes
  }
}
