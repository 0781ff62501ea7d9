import type { Ledger, Tokens } from '../access/ledger.ts'
import type { Principal } from '../access/roles.ts'
import type { Manifest } from '../bundle/manifest.ts'
import type { Deployments, Prediction } from '../serve/deployments.ts'
import type { GenerationInput } from '../serve/generation.ts'

/** Tokens that a chat template may add, and those that begin and end a text. */
const TEMPLATE = 1024
const MARKS = 8
const WRITTEN = 256

/** A token stands for at least one byte of its text. */
const bytes = (text: string) => Buffer.byteLength(text) + MARKS

const ofTexts = (texts: readonly string[]): Tokens => ({
  input: texts.reduce((sum, text) => sum + bytes(text), 0),
  output: 0,
})

function ofGeneration({ prompt, messages, maxTokens = WRITTEN }: GenerationInput, { pipeline }: Manifest): Tokens {
  const { context = Number.POSITIVE_INFINITY } = (pipeline ?? {}) as { context?: number }
  const said = messages?.reduce((sum, { role, content }) => sum + bytes(role) + bytes(content), TEMPLATE)
  const input = said ?? bytes(prompt ?? '')
  return { input: Math.min(input, context), output: Math.min(Math.max(0, maxTokens), context) }
}

type Inference = Pick<Deployments, 'predict' | 'classifyImages' | 'infer' | 'generate'>

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
    classifyImages: (ref, images, options) =>
      charged(ref, none, () => deployments.classifyImages(ref, images, options)),
    infer: (ref, inputs, options) => charged(ref, none, () => deployments.infer(ref, inputs, options)),
    async *generate(ref, input, { signal, ...options } = {}) {
      const { name, manifest } = await deployments.resolve(ref)
      const admission = await ledger.admit(who, name, () => ofGeneration(input, manifest))
      const stop = new AbortController()
      const signals = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal
      const events = deployments.generate(ref, input, { ...options, signal: signals })
      let used: Tokens | undefined
      let written = 0
      /** The next event, noted. */
      const next = async () => {
        const result = await events.next()
        if (result.done) return undefined
        const { value } = result
        if (value.type === 'token') written++
        else used = { input: value.usage.promptTokens, output: value.usage.completionTokens }
        return value
      }
      try {
        for (let event = await next(); event; event = await next()) yield event
      } finally {
        if (!used) {
          // the reader went away: the model is stopped, and says what it took
          stop.abort()
          try {
            while (await next());
          } catch {
            // it failed
          }
        }
        admission.settle(used ?? (written > 0 ? { input: 0, output: written } : undefined))
      }
      return undefined
    },
  }
}
