/**
 * Every error that a caller can see: stable code, HTTP status, message and the next step. `{name}` is filled from the
 * details given to `fail`; what stands in brackets is left out where its detail is not given. Texts carry no file-system paths of the server and no stack.
 */
export const errors = {
  // requests
  BAD_REQUEST: [400, '{message}', 'Compare the request with the API description at /openapi.json.'],
  COMMAND_UNKNOWN: [400, 'there is no command "{command}"', 'All commands: athanor help all'],
  COMMAND_WRONG: [400, '{what}', 'For example: {example}   ·   All of it: athanor COMMAND --help'],
  PATH_UNUSABLE: [400, '{path}: {reason}', 'Give another path.'],
  UNAUTHORIZED: [
    401,
    'this server needs a key',
    'Send it as "Authorization: Bearer <key>"; for commands: athanor login URL, or ATHANOR_KEY.',
  ],
  FORBIDDEN: [403, 'this key may not do that: {reason}', 'Use a key with the rights it takes: athanor keys create.'],
  RATE_LIMITED: [429, 'the limit of {limit} {what} of {owner} is reached', 'Try again in {seconds} s.'],
  BUDGET_SPENT: [429, 'the budget of {owner} is spent', '{reset}'],
  NOT_FOUND: [404, 'no route {method} {path}', 'All routes: /openapi.json'],
  BODY_TOO_LARGE: [413, 'the request body is over the limit of {limit} bytes', 'Send it in smaller parts.'],
  ENCODING_UNKNOWN: [415, 'the body is encoded as "{encoding}"', 'Send it as gzip, deflate or br, or as it is.'],
  TEXT_TOO_LONG: [413, 'a text has {length} characters, over the limit of {limit}', 'Split the text.'],
  PROMPT_TOO_LONG: [400, 'the prompt has {tokens} tokens, and the model reads at most {limit} in all', 'Shorten it.'],
  TENSOR_INVALID: [400, '{message}', 'The expected inputs: GET /v2/models/{model}'],
  UNSUPPORTED: [501, '{what} is not supported', '{instead}'],

  // registry
  MODEL_NOT_FOUND: [404, 'no model named "{name}"', 'All models: athanor models'],
  VERSION_NOT_FOUND: [404, 'model "{name}" has no version or alias "{version}"', 'Its versions: athanor show {name}'],
  NAME_INVALID: [
    400,
    '"{name}" is not a valid name',
    'Use 1 to 128 of a-z, 0-9, ".", "_", "-", starting with a letter or digit.',
  ],
  CARD_INVALID: [400, 'not a usable card: {reason}', 'Print one to begin with: athanor card MODEL'],
  BLOB_CORRUPT: [
    500,
    'a stored file no longer has its checksum; it was set aside',
    'Register the version again, or send the data again.',
  ],
  MODEL_INVALID: [422, 'not a usable ONNX model: {reason}', 'Check the file with: athanor show --graph FILE'],
  FORMAT_INVALID: [422, 'not a usable {format} model: {reason}', 'Save it again from the program that made it.'],
  FORMAT_UNKNOWN: [
    400,
    'cannot tell what kind of model {what} is',
    'Name it with --format; what is read and written: athanor formats',
  ],
  TASK_UNKNOWN: [
    422,
    'the files do not say what the model is for: it takes {inputs} and gives {outputs}',
    'If it reads texts: --tokenizer tokenizer.json --labels a,b (in a request: tokenizer, labels). If it sees images: --labels a,b --pixels unit. If it takes tensors: --task tensor.',
  ],
  FILE_NOT_FOUND: [404, 'no file of the sha256 {digest} is here', 'Send it first; files are kept for a day.'],
  FILE_DIFFERS: [
    422,
    'what was sent has not the sha256 {digest} it was announced with',
    'Send the file again from its beginning.',
  ],
  FETCH_FORBIDDEN: [
    403,
    'this server fetches no models from {publisher}:',
    'Its operator can allow it: ATHANOR_FETCH=hf,npm athanor serve. Or fetch it here and send it: athanor import.',
  ],
  HUB_LACKS: [
    404,
    '{hub} has no {what}',
    'Of a private or gated model it says so too: set HF_TOKEN to a token that may read it.',
  ],
  HUB_FAILED: [502, '{hub}: {reason}', 'Try again: what arrived is gone on with, for a day.'],
  BUNDLE_INVALID: [422, 'not a usable bundle: {reason}', 'Export or train it again.'],

  // data
  DATA_NOT_FOUND: [
    404,
    'no data at {source}',
    'Give a CSV, TSV, JSONL or Parquet file, a folder with one folder per class, or npm:<package>@<version>.',
  ],
  DATA_FORMAT_UNKNOWN: [
    400,
    'cannot tell the format of {source}',
    'Name it .csv, .tsv, .jsonl, .parquet, or .zip with one of them.',
  ],
  ARCHIVE_INVALID: [
    400,
    '{source}: {reason}',
    'Give a zip file that holds one CSV, TSV, JSONL or Parquet file, or that file itself.',
  ],
  DATA_EMPTY: [
    400,
    '{source} has no usable rows',
    'It needs a header and rows; the data report says what was dropped and why.',
  ],
  DATA_TOO_LARGE: [
    422,
    '{source} is too large for the memory that is free: {what}; nothing was trained',
    'Train on a random part of it, which teaches nearly as much (of one row a line: shuf -n ROWS, its header kept), or with more memory.',
  ],
  CORPUS_SHORT: [
    400,
    '{source} has {tokens} tokens to learn from, and a context is {context}',
    'Add text, or make the context shorter than what there is: --set context=…',
  ],
  DATA_UNDECODABLE: [
    400,
    '{source}, line {line}: bytes that are not {encoding}',
    'Save the file as UTF-8, or name its encoding with --encoding.',
  ],
  DATA_MALFORMED: [400, '{source}[, line {line}]: {reason}', 'Mend that place, or remove it.'],
  COLUMN_UNKNOWN: [
    400,
    'no column "{column}" in {source}; it has {columns}',
    'Name the columns with --text and --label.',
  ],
  COLUMN_AMBIGUOUS: [
    400,
    'cannot tell which column of {source} is the {role}; it has {columns}',
    'Name it with --{role}.',
  ],
  LABEL_MISSING: [
    400,
    '{source}, line {line}: no label',
    'Label the row, or pass --drop-unlabelled to leave such rows out.',
  ],
  ONE_CLASS: [400, 'all rows have the label "{label}"; a classifier needs at least two', 'Add rows of another class.'],
  LABEL_CONSTANT: [400, 'all rows of {source} teach the same', 'Add rows that differ in what is to be learnt.'],
  LABEL_UNKNOWN: [
    400,
    '{source} has the label "{label}", which the model was not trained on',
    'Known labels: {labels}',
  ],
  IMAGE_INVALID: [
    400,
    '{source}: not an image that can be read',
    'Give a JPEG, PNG, WebP, GIF, TIFF or AVIF image, whole and unharmed.',
  ],
  IMAGE_TOO_LARGE: [413, '{source}: {what}, over the limit of {limit} an image', 'Make the image smaller.'],
  SPLIT_IMPOSSIBLE: [400, '{reason}', 'Add rows, or pass a validation file with --validation.'],

  // training
  OPTION_INVALID: [400, 'option {option}: {reason}', 'See: athanor COMMAND --help'],
  RUN_NOT_FOUND: [404, 'no run named "{run}"', 'All runs: athanor ps --all'],
  RUN_NOT_RESUMABLE: [409, 'run "{run}" cannot be resumed: {reason}', 'Start a new run: athanor train'],
  LOSS_NOT_FINITE: [
    422,
    'the loss became {loss} at step {step}',
    'Lower the learning rate, e.g. --set learningRate=0.0005. Kept in the folder of the run: {checkpoint}.',
  ],
  TRAINING_MEMORY: [
    422,
    'training would take about {needed} MB of memory, and {available} MB are free; nothing was started',
    '{instead}',
  ],
  SELECTION_EMPTY: [
    422,
    'none of the trials gave a model; the last one: {reason}',
    'Mend what it says, or train one family: athanor train --family',
  ],
  GRADIENT_MISSING: [
    422,
    'operators without a gradient rule: {operators}',
    'Train only weights after them: --trainable REGEX; or replace them in what made the graph.',
  ],
  TRAINER_DIED: [
    500,
    'the training process ended without a result ({reason})',
    'Resume it: athanor train --resume {run}',
  ],

  // refining
  GATE_REFUSED: [
    422,
    'refused: {reasons}',
    'Nothing was registered. Loosen a bound with --tolerance, or register it all the same with --force.',
  ],
  REFINE_UNMEASURABLE: [
    400,
    'this version keeps no held-out rows to measure with',
    'Give labelled rows with --held-out DATA; versions trained from now on keep some.',
  ],
  REFINE_NEEDS_DATA: [
    400,
    'this needs the training data, which is not here any more: {source}',
    'Give it as well: athanor refine MODEL DATA (`data` in the API).',
  ],

  // serving
  MODEL_NOT_READY: [503, 'model "{name}" is not ready: {reason}', 'Try again in a moment.'],
  NOT_READY: [503, '{silent} of {loaded} loaded models do not answer', 'What runs: athanor ps'],
  ENGINE_CRASHED: [
    503,
    'the engine process of "{name}" ended while it worked on this request',
    'Try again; it is restarted.',
  ],
  OVERLOADED: [429, 'model "{name}" has {queued} requests waiting, its limit', 'Try again later.'],
  HOST_FORBIDDEN: [
    403,
    'calls to "{host}" are not allowed',
    'Start the server with ATHANOR_ALLOWED_HOSTS=HOST,… (names, addresses or ranges such as 10.1.0.0/16).',
  ],
  UPSTREAM_UNREACHABLE: [
    503,
    'the server that runs "{name}" does not answer: {reason}',
    'Try again in a moment; if it stays so, see whether that server runs.',
  ],
  UPSTREAM_BUSY: [429, 'the server that runs "{name}" takes no more requests now', 'Try again later.'],
  UPSTREAM_FAILED: [502, 'the server that runs "{name}" failed: {reason}', 'See the log of that server.'],
  UPSTREAM_REFUSED: [400, 'the server that runs "{name}" refused the request: {reason}', 'Change what it names.'],
  SECRET_UNREADABLE: [
    500,
    'a stored key cannot be read: the data folder has another secret.key than it was stored with',
    'Put that file back, or store the key again.',
  ],
  BATCH_NOT_FOUND: [404, 'no batch named "{batch}"', 'All batches: GET /v1/batches'],
  ENGINE_MISSING: [503, 'the engine {engine} is not installed', '{instead}'],
  DEADLINE_EXCEEDED: [504, 'no answer within {limit} ms', 'Try again, or send less at once.'],
  DEADLINE_HOPELESS: [
    429,
    'model "{name}" has {queued} requests waiting, about {wait} ms of work: more than the {limit} ms this one has',
    'Try again later, or allow more time.',
  ],
  CANCELLED: [499, 'the caller went away before the answer', 'Nothing is to be done.'],
  MEMORY_FULL: [
    503,
    'engine of "{name}" does not fit: it needs about {needed} MB, others that cannot be ended use {used} of {budget} MB',
    'Unload or unpin a model, or raise the limit: athanor serve --memory-budget',
  ],
  DEPLOYMENT_INVALID: [
    422,
    'deployment of "{name}" refused: {reason}',
    'Versions of a deployment must have the same task, labels and inputs. Its versions: athanor show {name}',
  ],
  DEPLOYMENT_NOT_FOUND: [404, 'model "{name}" has no deployment', 'Make one: athanor deploy {name} VERSION'],
  VERSION_DEPLOYED: [
    409,
    '{name}@{version} is part of a deployment',
    'Deploy another version first: athanor deploy {name}',
  ],

  // watching
  REQUEST_NOT_FOUND: [
    404,
    'no kept answer of request "{request}", row {row}',
    'Send the requestId of an answer, and row from 0; the newest answers are kept.',
  ],
  ERROR_NOT_FOUND: [404, 'no errors with the fingerprint {fingerprint}', 'All of them: athanor errors'],
  ALERT_NOT_FOUND: [404, 'no alert {id}', 'All alerts: athanor alerts --all'],
  ALERT_RULE_INVALID: [400, 'not a rule of alerts: "{rule}": {reason}', 'How they are written: docs/watching.md'],
  ALERT_RULE_NOT_FOUND: [404, 'no rule of alerts named "{name}"', 'All rules: athanor alerts --rules'],
  FEEDBACK_MISSING: [
    404,
    'no labelled texts of "{name}" were kept',
    'Start the server with ATHANOR_KEEP_TEXTS=1 and send labels to /api/feedback.',
  ],

  // the registry's surroundings
  TRACKED_NOT_FOUND: [404, 'no {what}', 'Log it first.'],
  ARTIFACT_NOT_FOUND: [404, 'no artifact at {path}', 'Log it first.'],
  ALREADY_EXISTS: [409, '{what} exists already', 'Choose another name.'],
  BACKUP_INVALID: [422, 'not a usable backup: {reason}', 'Make another: athanor backup FILE'],
  NOT_EMPTY: [
    409,
    'there are models, data sets or runs already',
    'Choose an empty place with ATHANOR_HOME, ATHANOR_DATABASE or --to.',
  ],
  BUSY: [409, '{what}', 'Try again when that is done.'],
  ADDRESS_REFUSED: [
    400,
    'nothing is sent to "{host}": {reason}',
    'Name hosts that are allowed in ATHANOR_ALLOWED_HOSTS, separated by commas.',
  ],
  WEBHOOK_NOT_FOUND: [404, 'no webhook {id}', 'All webhooks: athanor webhooks'],
  // access
  LOGIN_CANCELLED: [400, 'no key was given', 'Sign in again, or set ATHANOR_KEY.'],
  LOGIN_NOT_FOUND: [404, 'not signed in to {url}', 'Sign in: athanor login URL'],
  LOGIN_UNAVAILABLE: [
    503,
    'nobody can be signed in: {issuer} cannot be reached',
    'Try again in a moment, or use a key.',
  ],
  KEYS_MISSING: [
    400,
    'a server at "{host}" asks for keys, and none exists',
    'Create the first one: athanor keys create first --role admin',
  ],
  KEY_NOT_FOUND: [404, 'no key {key}', 'All keys: athanor keys list'],
  TENANT_NOT_FOUND: [404, 'no tenant named "{tenant}"', 'All tenants: athanor tenants list'],
  USER_NOT_FOUND: [404, 'no user named "{user}"', 'All users: athanor users list'],

  // the machine
  PORT_BUSY: [409, 'port {port} is in use', 'Choose another: athanor serve --port {other}'],
  HOME_BUSY: [
    409,
    'the data folder is in use by process {pid}',
    'Use that server, stop it, or set ATHANOR_HOME to another folder.',
  ],
  HOME_UNUSABLE: [500, 'the data folder cannot be used: {reason}', 'Check its permissions, or set ATHANOR_HOME.'],
  DATABASE_NEWER: [
    500,
    'the database was used by a later version of Athanor, which this one cannot read ({migration})',
    'Go on with that version, or set ATHANOR_HOME to another folder and restore a backup of this version there.',
  ],
  STORAGE_UNAVAILABLE: [
    503,
    '{what} cannot be reached; nothing was changed',
    'Try again in a moment. Models that are loaded go on answering.',
  ],
  DISK_FULL: [
    507,
    'the disk is full; nothing was changed',
    'Free space, then try again[: athanor train --resume {run}].',
  ],
  SERVER_UNREACHABLE: [503, 'no server answers at {url}', 'Start one: athanor serve'],
  INTERNAL: [500, 'something went wrong inside', 'The details are in the error log: athanor logs --errors'],
} as const satisfies Record<string, readonly [status: number, message: string, hint: string]>

export type ErrorCode = keyof typeof errors
export type ErrorDetails = Record<string, string | number>

/** The one error class: carries code, status, hint and details; its JSON form is what every door sends. */
export class AthanorError extends Error {
  readonly code: ErrorCode
  readonly status: number
  readonly hint: string
  readonly details: ErrorDetails

  constructor(code: ErrorCode, details: ErrorDetails = {}, options: { cause?: unknown; suggestion?: string } = {}) {
    const [status, message, hint] = errors[code]
    super(fill(message, details), { cause: options.cause })
    this.name = 'AthanorError'
    this.code = code
    this.status = status
    this.hint = (options.suggestion ? `Did you mean "${options.suggestion}"? ` : '') + fill(hint, details)
    this.details = details
  }

  toJSON() {
    return { code: this.code, status: this.status, message: this.message, hint: this.hint }
  }
}

/** An error of the table, ready to throw. */
export function fail(code: ErrorCode, details?: ErrorDetails, options?: { cause?: unknown; suggestion?: string }) {
  return new AthanorError(code, details, options)
}

const SQLITE_FULL = 13

/** Any thrown value as an AthanorError: disk-full errors by their code, anything unknown as INTERNAL with its cause. */
export function asAthanorError(error: unknown): AthanorError {
  if (error instanceof AthanorError) return error
  const { code, errcode } = (error ?? {}) as { code?: string; errcode?: number }
  const full = code === 'ENOSPC' || code === 'EDQUOT' || (code === 'ERR_SQLITE_ERROR' && errcode === SQLITE_FULL)
  if (full) return fail('DISK_FULL', {}, { cause: error })
  return fail('INTERNAL', {}, { cause: error })
}

/** DISK_FULL if that is what an error means. */
export function isDiskFull(error: unknown): AthanorError | undefined {
  const known = asAthanorError(error)
  return known.code === 'DISK_FULL' ? known : undefined
}

const fill = (template: string, details: ErrorDetails) =>
  template
    .replace(/\[([^[\]{]*\{(\w+)\}[^[\]{]*)\]/g, (_, part: string, key: string) => (key in details ? part : ''))
    .replace(/\{(\w+)\}/g, (whole, key: string) => (key in details ? String(details[key]) : whole))
