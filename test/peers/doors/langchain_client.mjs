// LangChain against a running server: chat with tools and structured output, the Responses API, completions, embeddings.
import assert from 'node:assert/strict'
import { HumanMessage } from '@langchain/core/messages'
import { tool } from '@langchain/core/tools'
import { ChatOpenAI, OpenAI, OpenAIEmbeddings } from '@langchain/openai'
import { z } from 'zod'

const { url, expected } = JSON.parse(process.argv[2])
const common = { apiKey: 'none', configuration: { baseURL: `${url}/v1` }, maxRetries: 0 }
const Mood = z.object({ mood: z.enum(['good', 'bad']) })
const weather = tool(async ({ place }) => `rain in ${place}`, {
  name: 'weather',
  description: 'The weather of a place',
  schema: z.object({ place: z.enum(['Bern', 'Rome']) }),
})

for (const useResponsesApi of [false, true]) {
  const chat = (more = {}) => new ChatOpenAI({ ...common, model: 'writer', useResponsesApi, ...more })
  const greedy = chat({ temperature: 0, maxTokens: 12 })
  const whole = await greedy.invoke('hello')
  assert.deepEqual([whole.text, whole.usage_metadata.output_tokens], [expected.text, 12])
  let text = ''
  for await (const part of await greedy.stream('hello')) text += part.text
  assert.equal(text, expected.text)
  assert.deepEqual(
    (await greedy.batch(['hello', 'hello'])).map((one) => one.text),
    [expected.text, expected.text],
  )

  const methods = useResponsesApi ? ['jsonSchema'] : ['jsonSchema', 'functionCalling']
  for (const method of methods) {
    const { mood } = await chat().withStructuredOutput(Mood, { method, name: 'mood' }).invoke('hello')
    assert.ok(['good', 'bad'].includes(mood))
  }
  const calling = chat().bindTools([weather], { tool_choice: 'weather' })
  const first = await calling.invoke('hello')
  const [call] = first.tool_calls
  const result = await weather.invoke(call)
  assert.match(result.content, /^rain in (Bern|Rome)$/)
  const second = await chat({ maxTokens: 8 }).invoke([new HumanMessage('hello'), first, result])
  assert.ok(second.text.length > 0, 'what a tool returned is read')
  let streamed
  for await (const part of await calling.stream('hello')) streamed = streamed ? streamed.concat(part) : part
  assert.equal(streamed.tool_calls[0].name, 'weather')
}

const { logprobs } = (await new ChatOpenAI({ ...common, model: 'writer', logprobs: true, maxTokens: 3 }).invoke('x'))
  .response_metadata
assert.equal(logprobs.content.length, 3)
const completion = new OpenAI({ ...common, model: 'writer', temperature: 0, maxTokens: 12 })
assert.equal(await completion.invoke('hello'), expected.text)
const embeddings = new OpenAIEmbeddings({ ...common, model: 'vectors', dimensions: 4 })
assert.deepEqual(
  (await embeddings.embedDocuments(['the fox', 'x'])).map((one) => one.length),
  [4, 4],
)
await assert.rejects(new ChatOpenAI({ ...common, model: 'wirter' }).invoke('x'), /Did you mean "writer"/)
console.log('ok')
