import { fail } from '../base/errors.ts'
import { folderFiles } from './huggingface/folder.ts'
import { libraryFiles } from './huggingface/transformers.ts'

/** What is read of the folder of a published model beside its weights. */
const described = new Set<string>([
  ...folderFiles.filter((name) => /\.json$/.test(name)),
  'generation_config.json',
  'chat_template.jinja',
])
const shard = /^model-\d{5}-of-\d{5}\.safetensors$/
const pickled = /(^|\/)[^/]*\.(bin|pt|pth|ckpt|pkl|pickle|joblib)$/
/** Files that are a model alone; transformers' weights for TensorFlow are not. */
const whole = /^(?!tf_model\.h5$)[^/]+\.(gguf|onnx|keras|h5)$/

const unreadable = (what: string, instead: string) => fail('UNSUPPORTED', { what, instead })

/**
 * The files of a published repository that make up a model and are read here, by their paths in it; of `path`, a file or folder
 * in it, where that is given. Pickles are refused by their names. Throws UNSUPPORTED, OPTION_INVALID where there are several
 * models, or FORMAT_INVALID.
 */
export function publishedFiles(all: readonly string[], { path, format }: { path?: string; format?: string }): string[] {
  const names = path === undefined ? all : all.filter((name) => name === path || name.startsWith(`${path}/`))
  if (names.length === 0)
    throw fail('OPTION_INVALID', { option: 'path', reason: `there is no "${path?.slice(0, 120)}"` })
  if (path !== undefined && names[0] !== path) {
    const inner = names.map((name) => name.slice(path.length + 1))
    return publishedFiles(inner, format === undefined ? {} : { format }).map((name) => `${path}/${name}`)
  }
  const folder = new Set(names)
  const weights = folder.has('model.safetensors') ? ['model.safetensors'] : names.filter((name) => shard.test(name))
  if (format === 'transformers') return libraryFiles(names)
  if (folder.has('config.json') && (weights.length > 0 || folder.has('onnx/model.onnx'))) {
    if (!folder.has('tokenizer.json'))
      throw fail('FORMAT_INVALID', {
        format: 'Hugging Face',
        reason: 'there is no tokenizer.json; save it with AutoTokenizer.from_pretrained(…).save_pretrained(…)',
      })
    const index = weights[0] === 'model.safetensors' ? [] : ['model.safetensors.index.json']
    const graph = weights.length > 0 ? [] : ['onnx/model.onnx']
    return names.filter((name) => described.has(name) || [...weights, ...index, ...graph].includes(name))
  }
  if (folder.has('saved_model.pb'))
    return names.filter((name) => /^(saved_model\.pb|variables\/.*|assets\/.*)$/.test(name))
  if (folder.has('model.json')) return names.filter((name) => /^(model\.json|[^/]+\.bin)$/.test(name))
  const models = path === undefined ? names.filter((name) => whole.test(name)) : names
  const bare = models.length > 0 && models.every((name) => !pickled.test(name))
  if (bare && models.length > 1)
    throw fail('OPTION_INVALID', {
      option: 'path',
      reason: `it holds several models; name one after "#": ${models.slice(0, 12).join(', ')}`,
    })
  if (bare) return [...models, ...all.filter((name) => [`${models[0]}.data`, `${models[0]}_data`].includes(name))]
  const pickle = names.find((name) => pickled.test(name))
  if (pickle !== undefined)
    throw unreadable(
      `"${pickle.slice(0, 80)}", a Python pickle by its name,`,
      'Loading one runs the program in it; nothing was fetched. Ask for safetensors, or convert it where you trust it: safetensors.torch.save_file(model.state_dict(), "model.safetensors")',
    )
  throw unreadable('a repository without a model of a format that is read', 'See: athanor formats')
}
