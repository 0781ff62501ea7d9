import type { ErrorBody } from './types.ts'

/** The one error of the client: what the server said, or SERVER_UNREACHABLE when it said nothing. */
export class AthanorError extends Error {
  readonly code: string
  readonly status: number
  readonly hint: string
  readonly requestId: string | undefined

  constructor({ code, status, message, hint, requestId }: ErrorBody, options?: ErrorOptions) {
    super(message, options)
    this.name = 'AthanorError'
    this.code = code
    this.status = status
    this.hint = hint
    this.requestId = requestId
  }
}

export const unreachable = (url: string, cause: unknown) =>
  new AthanorError(
    {
      code: 'SERVER_UNREACHABLE',
      status: 503,
      message: `no server answers at ${url}`,
      hint: 'Start one: athanor serve',
    },
    { cause },
  )

/** What the server says of a failed request. */
export async function errorFrom(response: Response): Promise<AthanorError> {
  const text = await response.text()
  try {
    return new AthanorError((JSON.parse(text) as { error: ErrorBody }).error)
  } catch {
    return new AthanorError({
      code: 'INTERNAL',
      status: response.status,
      message: `the server answered ${response.status}`,
      hint: 'See its log: athanor logs',
    })
  }
}
