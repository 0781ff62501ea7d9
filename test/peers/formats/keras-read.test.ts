import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import ort from 'onnxruntime-node'
import { readKerasArchive, readKerasH5 } from '../../../src/formats/keras/files.ts'
import { writeModel } from '../../../src/graph/codec.ts'

const folder = '/tmp/keras-models'

import { readdirSync } from 'node:fs'

for (const file of readdirSync(folder).filter((f) => f.endsWith('.json')))
  for (const ext of ['.keras', '.h5']) {
    const path = join(folder, file.replace('.json', ext))
    if (!existsSync(path)) continue
    test(path, async () => {
      const golden = JSON.parse(readFileSync(join(folder, file), 'utf8'))
      const { model } = await (ext === '.h5' ? readKerasH5 : readKerasArchive)(readFileSync(path))
      const s = await ort.InferenceSession.create(writeModel(model), { logSeverityLevel: 3 })
      const feeds = Object.fromEntries(
        s.inputNames.map((n, i) => {
          const { shape, data } = golden.inputs[i]
          const t = (s.inputMetadata[i] as any).type
          return [
            n,
            t === 'int64'
              ? new ort.Tensor(
                  'int64',
                  BigInt64Array.from(data, (x: number) => BigInt(x)),
                  shape,
                )
              : t === 'int32'
                ? new ort.Tensor('int32', Int32Array.from(data), shape)
                : new ort.Tensor('float32', Float32Array.from(data), shape),
          ]
        }),
      )
      const out = await s.run(feeds)
      s.outputNames.forEach((n, i) => {
        const e = golden.outputs[i]
        assert.deepEqual([...out[n].dims], e.shape)
        let d = 0
        ;(out[n].data as Float32Array).forEach((v, j) => {
          d = Math.max(d, Math.abs(v - e.data[j]) / Math.max(1, Math.abs(e.data[j])))
        })
        assert.ok(d < 1e-5, n + ' differs by ' + d)
      })
    })
  }
