import { type Static, Type } from 'typebox'
import { Check } from 'typebox/value'
import { fail } from '../base/errors.ts'

/** What a model that writes needs beside its tokenizer; the `pipeline` of its manifest. */
export const GenerationConfig = Type.Object({
  /** Most tokens the model reads and writes in all. */
  context: Type.Integer({ minimum: 2 }),
  /** Ids that end a text. */
  end: Type.Array(Type.Integer()),
  /** What an empty prompt begins with. */
  start: Type.Optional(Type.Integer()),
  /** Ids that are never written. */
  never: Type.Optional(Type.Array(Type.Integer())),
  /** A Jinja template that makes a prompt of messages, as in Hugging Face's tokenizer_config.json. */
  chatTemplate: Type.Optional(Type.String()),
})
export type GenerationConfig = Static<typeof GenerationConfig>

/** The pipeline of a manifest as what it must be; throws BUNDLE_INVALID. */
export function generationConfig(pipeline: unknown): GenerationConfig {
  if (Check(GenerationConfig, pipeline)) return pipeline
  throw fail('BUNDLE_INVALID', { reason: 'the pipeline of a text-generation model needs context and end' })
}
