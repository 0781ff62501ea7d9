// The hub's own client, huggingface_hub, reads the server that stands for the hub in our tests: it has the routes, headers and
// redirects of one. Needs Python with huggingface_hub: ATHANOR_PYTHON names it.
import assert from 'node:assert/strict'
import { execFile, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { promisify } from 'node:util'
import { startHub } from '../../../src/testing/hub-server.ts'

const python = process.env.ATHANOR_PYTHON ?? 'python3'
const there = spawnSync(python, ['-c', 'import huggingface_hub'], { stdio: 'ignore' }).status === 0
const root = mkdtempSync(join(tmpdir(), 'athanor-hub-'))
after(() => rmSync(root, { recursive: true, force: true }))

const script = `
import json, sys
from huggingface_hub import HfApi, hf_hub_download
info = HfApi().model_info('old/name', revision='main', files_metadata=True)
files = [[one.rfilename, one.size, one.blob_id, one.lfs.sha256 if one.lfs else None] for one in info.siblings]
for name, *_ in files:
    hf_hub_download('owner/name', name, revision=info.sha, local_dir=sys.argv[1])
try:
    HfApi().model_info('owner/name', revision='v9')
except Exception as error:
    refused = type(error).__name__
print(json.dumps({'id': info.id, 'sha': info.sha, 'files': files, 'refused': refused}))`

test('huggingface_hub lists and downloads from the server of our tests', {
  skip: there ? false : `${python} has no huggingface_hub; set ATHANOR_PYTHON`,
}, async () => {
  const weights = Uint8Array.from({ length: 200_000 }, (_, i) => (i * 13) & 255)
  const config = Buffer.from('{"model_type":"bert"}')
  const hub = await startHub({ 'config.json': config, 'model.safetensors': weights }, { token: 'secret' })
  try {
    const env = { ...process.env, HF_ENDPOINT: hub.url, HF_TOKEN: 'secret', HF_HOME: join(root, 'home') }
    const { stdout } = await promisify(execFile)(python, ['-c', script, join(root, 'model')], { env })
    const { id, sha, files, refused } = JSON.parse(stdout.trim().split('\n').at(-1)!)
    assert.deepEqual([id, sha, refused], ['owner/name', hub.commit, 'RevisionNotFoundError'])
    assert.deepEqual(
      files.map(([name, size]: [string, number]) => [name, size]),
      [
        ['config.json', config.byteLength],
        ['model.safetensors', weights.byteLength],
      ],
    )
    assert.equal(files[1][3].length, 64)
    assert.deepEqual(readFileSync(join(root, 'model/config.json')), config)
    assert.ok(readFileSync(join(root, 'model/model.safetensors')).equals(weights))
  } finally {
    hub.close()
  }
})
