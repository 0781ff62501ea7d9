import type {
  ChatMessage,
  Entity,
  Fill,
  GenerateOptions,
  Generation,
  GenerationEvent,
  JsonTensor,
  Prediction,
  Ranked,
} from './answers.ts'
import { AthanorError } from './error.ts'
import { parseEvents } from './events.ts'
import { type Http, modelPath } from './http.ts'
import type { ErrorBody } from './types.ts'

interface TextOptions {
  topK?: number
  signal?: AbortSignal
}

/** The calls that ask a model. */
export class Asking {
  protected readonly http: Http

  constructor(http: Http) {
    this.http = http
  }

  /** Labels of a text, best first. */
  async predict(model: string, text: string, options: TextOptions = {}): Promise<Ranked[]> {
    const [first] = await this.predictAll(model, [text], options)
    return first
  }

  /** Labels of each text, best first. */
  async predictAll(model: string, texts: readonly string[], options: TextOptions = {}): Promise<Ranked[][]> {
    return (await this.predictDetailed(model, texts, options)).outputs
  }

  /** As `predictAll`, with version, request id and timings. */
  predictDetailed(model: string, texts: readonly string[], options: TextOptions = {}): Promise<Prediction<Ranked[][]>> {
    return this.ask(model, texts, options)
  }

  /** A vector for each text, of a model that embeds (`feature-extraction`). */
  async embed(model: string, texts: readonly string[], options: { signal?: AbortSignal } = {}): Promise<number[][]> {
    return (await this.ask<number[]>(model, texts, options)).outputs
  }

  /** For each text the likeliest words of each of its masks, of a `fill-mask` model. */
  async fillMask(model: string, texts: readonly string[], options: TextOptions = {}): Promise<Fill[][][]> {
    return (await this.ask<Fill[][]>(model, texts, options)).outputs
  }

  /** For each text its labelled stretches, of a `token-classification` model. */
  async entities(model: string, texts: readonly string[], options: { signal?: AbortSignal } = {}): Promise<Entity[][]> {
    return (await this.ask<Entity[]>(model, texts, options)).outputs
  }

  /** What a model of texts answers, as its task has it; with version, request id and timings. */
  ask<Output = unknown>(
    model: string,
    texts: readonly string[],
    { topK, signal }: TextOptions = {},
  ): Promise<Prediction<Output[]>> {
    const json = { inputs: texts, ...(topK !== undefined && { parameters: { topK } }) }
    return this.http.json(`${modelPath(model)}/predict`, {
      method: 'POST',
      again: true,
      json,
      ...(signal && { signal }),
    })
  }

  /** What a model of another of the hub's tasks answers (`question-answering`, `object-detection`, …); files go in base64. */
  async run<Output = unknown>(model: string, inputs: unknown, parameters: object = {}): Promise<Output> {
    const json = { inputs, parameters }
    return (await this.http.json<Prediction<Output>>(`${modelPath(model)}/run`, { method: 'POST', json })).outputs
  }

  /** Labels of an image file (its bytes), best first. */
  async classifyImage(model: string, image: Uint8Array | Blob, { topK, signal }: TextOptions = {}): Promise<Ranked[]> {
    const { outputs } = await this.http.json<Prediction<Ranked[][]>>(`${modelPath(model)}/images`, {
      method: 'POST',
      query: { topK },
      body: image as BodyInit,
      headers: { 'content-type': 'application/octet-stream' },
      ...(signal && { signal }),
    })
    return outputs[0]
  }

  /** Outputs of a model that takes tensors. */
  infer(
    model: string,
    inputs: Record<string, JsonTensor>,
  ): Promise<Prediction<Record<string, JsonTensor & { dtype: string }>>> {
    return this.http.json(`${modelPath(model)}/predict`, { method: 'POST', again: true, json: { inputs } })
  }

  /** A text that the model writes after a prompt or messages, once it is complete. */
  generate(
    model: string,
    prompt: string | ChatMessage[],
    { signal, ...parameters }: GenerateOptions & { signal?: AbortSignal } = {},
  ): Promise<Generation> {
    const json = { ...promptOf(prompt), parameters }
    return this.http.json(`${modelPath(model)}/generate`, {
      method: 'POST',
      json,
      timeout: 0,
      ...(signal && { signal }),
    })
  }

  /** As `generate`, token by token as they come; leave the loop to stop the model. */
  async *stream(
    model: string,
    prompt: string | ChatMessage[],
    { signal, ...parameters }: GenerateOptions & { signal?: AbortSignal } = {},
  ): AsyncGenerator<GenerationEvent> {
    const json = { ...promptOf(prompt), parameters, stream: true }
    const path = `${modelPath(model)}/generate`
    const { body } = await this.http.send(path, { method: 'POST', json, timeout: 0, ...(signal && { signal }) })
    for await (const { data } of parseEvents(body!)) {
      const event = JSON.parse(data) as GenerationEvent | { type: 'error'; error: ErrorBody }
      if (event.type === 'error') throw new AthanorError(event.error)
      yield event
      if (event.type === 'end') return
    }
    throw new AthanorError({
      code: 'SERVER_UNREACHABLE',
      status: 503,
      message: 'the stream broke off before its end',
      hint: 'Try again.',
    })
  }
}

const promptOf = (prompt: string | ChatMessage[]) => (typeof prompt === 'string' ? { prompt } : { messages: prompt })
