import { fail } from '../base/errors.ts'

/** What a model that writes needs beside its tokenizer; in the `pipeline` of its manifest. */
export interface GenerationConfig {
  /** Most tokens the model reads and writes in all. */
  context: number
  /** Ids that end a text. */
  end: number[]
  /** What an empty prompt begins with. */
  start?: number
  /** Ids that are never written. */
  never?: number[]
  /** A Jinja template that makes a prompt of messages, as in Hugging Face's tokenizer_config.json. */
  chatTemplate?: string
}

/** The pipeline of a manifest as what it must be; throws BUNDLE_INVALID. */
export function generationConfig(pipeline: Record<string, unknown> | undefined): GenerationConfig {
  const { context, end, start, never, chatTemplate } = pipeline ?? {}
  const ids = (value: unknown): value is number[] => Array.isArray(value) && value.every(Number.isSafeInteger)
  if (!Number.isSafeInteger(context) || Number(context) < 2 || !ids(end))
    throw fail('BUNDLE_INVALID', { reason: 'the pipeline of a model that writes needs context and end' })
  return {
    context: Number(context),
    end,
    ...(Number.isSafeInteger(start) && { start: Number(start) }),
    ...(ids(never) && { never }),
    ...(typeof chatTemplate === 'string' && { chatTemplate }),
  }
}
