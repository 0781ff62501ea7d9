import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { create } from '@bufbuild/protobuf'
import { readModel, writeModel } from '../src/graph/codec.ts'
import { Edit } from '../src/graph/edit.ts'
import { NodeProtoSchema, ValueInfoProtoSchema } from '../src/graph/gen/onnx_pb.js'
import { toProto } from '../src/graph/tensor-proto.ts'
import { raceEncoder, subfolder } from './lib/encoder-race.ts'
import type { Bundle } from './lib/server.ts'

export const description =
  'vectors of texts against transformers.js behind Fastify (ATHANOR_ENGINES: with transformers in it; ATHANOR_MINILM: folder)'

const script = fileURLToPath(new URL('./peers/transformers-js.ts', import.meta.url))
const library = join(process.env.ATHANOR_ENGINES ?? '', 'transformers')

export const run = (log: (line: string) => void) =>
  raceEncoder(
    {
      name: 'transformers.js',
      command: [process.execPath, script, library, '{folder}', '{port}'],
      path: '/embed',
      body: (text) => ({ text }),
      prepare,
    },
    log,
  )

/** The same graph under the names that transformers.js feeds and reads: lengths are sums of the attention mask. */
function prepare({ files }: Bundle, folder: string) {
  const { model, graph } = new Edit(readModel(files['model.onnx']))
  const [ids] = graph.input
  const [embeddings] = graph.output
  graph.input = [create(ValueInfoProtoSchema, { ...ids, name: 'input_ids' }), { ...ids, name: 'attention_mask' }]
  graph.output = [{ ...embeddings, name: 'token_embeddings' }]
  const node = (opType: string, input: string[], output: string) =>
    create(NodeProtoSchema, { opType, input, output: [output], name: `race/${output}` })
  const one = toProto({ dtype: 'int64', dims: [1], data: BigInt64Array.of(1n) }, 'race/one')
  graph.initializer.push(one)
  graph.node.unshift(
    node('Identity', ['input_ids'], 'ids'),
    node('ReduceSum', ['attention_mask', 'race/one'], 'race/sums'),
    node('Squeeze', ['race/sums', 'race/one'], 'lengths'),
  )
  graph.node.push(node('Identity', [embeddings.name], 'token_embeddings'))
  const published = subfolder(folder, 'published')
  writeFileSync(join(subfolder(published, 'onnx'), 'model.onnx'), writeModel(model))
  writeFileSync(join(published, 'tokenizer.json'), files['tokenizer.json'])
  writeFileSync(join(published, 'config.json'), JSON.stringify({ model_type: 'bert', architectures: ['BertModel'] }))
  const tokenizer = { tokenizer_class: 'BertTokenizer', model_max_length: 128 }
  writeFileSync(join(published, 'tokenizer_config.json'), JSON.stringify(tokenizer))
}
