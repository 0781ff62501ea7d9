/** A model of another server. */
export interface RemoteSpec {
  /** Where its protocol begins: `https://host/v1` of OpenAI's API, `http://host:8000` of the Open Inference Protocol. */
  url: string
  protocol: 'openai' | 'oip'
  /** The model's name over there. */
  model: string
  /** Of a server that speaks OpenAI: `text-generation` if not given. */
  task?: 'text-generation' | 'feature-extraction'
  /** Sent to that server as a bearer token. */
  key?: string
  /** How often a request is sent again before its first byte (2). */
  retries?: number
  /** A model here that answers while the other server does not. */
  fallback?: string
  description?: string
}
