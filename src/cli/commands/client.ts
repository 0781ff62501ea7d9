import type { Context } from '../context.ts'

/** Prints a typed client of a model: TypeScript without dependencies. */
export async function typedClient({ client, out }: Context, model: string) {
  const source = await client.models.typedClient(model)
  if (out.json) out.document({ source })
  else out.data(source.trimEnd())
}

/** Prints calls of a model to copy, by protocol and language. */
export async function snippets({ client, out }: Context, model: string) {
  const all = await client.models.snippets(model)
  if (out.json) return out.document(all)
  for (const { door, language, code } of all) {
    out.data(out.style('bold', `# ${door}, ${language}`))
    out.data(`${code}\n`)
  }
}
