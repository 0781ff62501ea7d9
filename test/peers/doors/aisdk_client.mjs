// The Vercel AI SDK against a running server: both of its OpenAI providers, the Responses API included.
import assert from 'node:assert/strict'
import { createOpenAI } from '@ai-sdk/openai'
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { embed, embedMany, generateText, isStepCount, jsonSchema, Output, streamText, tool } from 'ai'

globalThis.AI_SDK_LOG_WARNINGS = false
const { url, expected } = JSON.parse(process.argv[2])
const openai = createOpenAI({ baseURL: `${url}/v1`, apiKey: 'none' })
const compatible = createOpenAICompatible({
  name: 'athanor',
  baseURL: `${url}/v1`,
  includeUsage: true,
  supportsStructuredOutputs: true,
})
const schema = jsonSchema({
  type: 'object',
  properties: { mood: { enum: ['good', 'bad'] } },
  required: ['mood'],
  additionalProperties: false,
})
const weather = tool({
  description: 'The weather of a place',
  inputSchema: jsonSchema({
    type: 'object',
    properties: { place: { enum: ['Bern', 'Rome'] } },
    required: ['place'],
    additionalProperties: false,
  }),
  execute: async ({ place }) => `rain in ${place}`,
})
const onError = ({ error }) => {
  throw error
}

for (const model of [openai('writer'), openai.chat('writer'), compatible('writer')]) {
  const greedy = { model, prompt: 'hello', temperature: 0, maxOutputTokens: 12, maxRetries: 0 }
  const whole = await generateText(greedy)
  assert.deepEqual([whole.text, whole.finishReason, whole.usage.outputTokens], [expected.text, 'length', 12])
  const stream = streamText({ ...greedy, onError })
  let text = ''
  for await (const part of stream.textStream) text += part
  assert.deepEqual([text, await stream.finishReason], [expected.text, 'length'])
  assert.equal((await stream.usage).outputTokens, 12)

  const shaped = { model, prompt: 'hello', output: Output.object({ schema }), maxRetries: 0 }
  assert.ok(['good', 'bad'].includes((await generateText(shaped)).output.mood))
  assert.ok(['good', 'bad'].includes((await streamText({ ...shaped, onError }).output).mood))

  const calling = { model, prompt: 'hello', tools: { weather }, toolChoice: 'required', maxRetries: 0 }
  const streamed = streamText({ ...calling, onError })
  const [call] = await streamed.toolCalls
  assert.ok(call.toolName === 'weather' && ['Bern', 'Rome'].includes(call.input.place), JSON.stringify(call))
  const { steps } = await generateText({
    ...calling,
    maxOutputTokens: 90,
    stopWhen: isStepCount(2),
    prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber === 0 ? 'required' : 'none' }),
  })
  assert.match(steps[0].toolResults[0].output, /^rain in (Bern|Rome)$/)
  assert.ok(steps.length === 2 && steps[1].text.length > 0, 'what a tool returned is read')
}

for (const model of [openai.completion('writer'), compatible.completionModel('writer')])
  assert.equal(
    (await generateText({ model, prompt: 'hello', temperature: 0, maxOutputTokens: 4 })).text.length > 0,
    true,
  )
for (const model of [openai.embedding('vectors'), compatible.embeddingModel('vectors')]) {
  assert.equal((await embed({ model, value: 'the fox' })).embedding.length, 8)
  assert.equal((await embedMany({ model, values: ['the fox', 'a dog', 'x'] })).embeddings.length, 3)
}
await assert.rejects(generateText({ model: openai('wirter'), prompt: 'x', maxRetries: 0 }), {
  statusCode: 404,
  isRetryable: false,
  message: /Did you mean "writer"/,
})
console.log('ok')
