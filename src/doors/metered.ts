import type { Ledger, Tokens } from '../access/ledger.ts'
import type { Principal } from '../access/roles.ts'
import type { Manifest } from '../bundle/manifest.ts'
import type { Deployments, Prediction } from '../serve/deployments.ts'
import type { GenerationInput } from '../serve/generation.ts'

/** Tokens that a chat template may add, and those that begin and end a text. */
const TEMPLATE = 1024
const MARKS = 8
const WRITTEN = 256
/** Bytes of text that a token stands for, about. */
const BYTES_OF_TOKEN = 4

/** A token stands for at least one byte of its text. */
const bytes = (text: string) => Buffer.byteLength(text) + MARKS

const ofTexts = (texts: readonly string[]): Tokens => ({
  input: texts.reduce((sum, text) => sum + bytes(text), 0),
  output: 0,
})

function ofGeneration({ prompt, messages, maxTokens = WRITTEN }: GenerationInput, { pipeline }: Manifest): Tokens {
  const { context = Number.POSITIVE_INFINITY } = (pipeline ?? {}) as { context?: number }
  const said = messages?.reduce((sum, { role, content }) => sum + bytes(role) + bytes(content), TEMPLATE)
  const input = said ?? (typeof prompt === 'object' ? prompt.length : bytes(prompt ?? ''))
  return { input: Math.min(input, context), output: Math.min(Math.max(0, maxTokens), context) }
}

type Inference = Pick<Deployments, 'predict' | 'embedIds' | 'classifyImages' | 'infer' | 'ask' | 'generate'>

/**
 * Everything that asks a model, let in and charged by the ledger: whichever door a request comes by, this is where it
 * passes. They throw RATE_LIMITED and BUDGET_SPENT besides what they throw.
 */
export function metered(deployments: Deployments, ledger: Ledger, who: Principal): Inference {
  async function charged(ref: string, most: () => Tokens, ask: () => Promise<Prediction>): Promise<Prediction> {
    const { name } = await deployments.resolve(ref)
    const admission = await ledger.admit(who, name, most)
    let used: Tokens | undefined
    try {
      const prediction = await ask()
      used = { input: prediction.timings.tokens ?? 0, output: 0 }
      return prediction
    } finally {
      admission.settle(used)
    }
  }
  const none = () => ({ input: 0, output: 0 })
  return {
    predict: (ref, texts, options) =>
      charged(
        ref,
        () => ofTexts(texts),
        () => deployments.predict(ref, texts, options),
      ),
    embedIds: (ref, ids, options) =>
      charged(
        ref,
        () => ({ input: ids.reduce((sum, { length }) => sum + length, 0), output: 0 }),
        () => deployments.embedIds(ref, ids, options),
      ),
    classifyImages: (ref, images, options) =>
      charged(ref, none, () => deployments.classifyImages(ref, images, options)),
    infer: (ref, inputs, options) => charged(ref, none, () => deployments.infer(ref, inputs, options)),
    ask: (ref, inputs, parameters, options) =>
      charged(ref, none, () => deployments.ask(ref, inputs, parameters, options)),
    async *generate(ref, input, options) {
      const { name, manifest } = typeof ref === 'string' ? await deployments.resolve(ref) : ref.version
      const admission = await ledger.admit(who, name, () => ofGeneration(input, manifest))
      let used: Tokens | undefined
      let written = 0
      try {
        for await (const event of deployments.generate(ref, input, options)) {
          if (event.type === 'token') written++
          else if (event.finish !== 'cancelled')
            used = { input: event.usage.promptTokens, output: event.usage.completionTokens }
          yield event
        }
      } finally {
        // the reader went away, or it failed: what was written is known, what was read is estimated
        if (!used && written > 0)
          used = { input: Math.ceil(ofGeneration(input, manifest).input / BYTES_OF_TOKEN), output: written }
        admission.settle(used)
      }
      return undefined
    },
  }
}
