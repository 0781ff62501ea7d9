import { Option } from 'commander'
import { hubTaskNames } from '../../bundle/hub.ts'
import { pixelScales } from '../../formats/bare/scales.ts'
import type { ExportFlags, ImportFlags } from '../commands/formats.ts'
import type { RefineOptions } from '../commands/refine.ts'
import type { TrainOptions } from '../commands/train.ts'
import { type CommandGroup, option, repeated, type ServerCall } from '../entry.ts'

/** What an import can be told; other tasks are known by a model's files. */
const importTasks = ['text-classification', 'image-classification', 'tensor', ...hubTaskNames]

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

export const makeCommands: CommandGroup = {
  title: 'Make',
  commands: [
    {
      name: 'demo',
      summary: 'Do the whole line on real data: train, register, serve, ask, watch',
      brief: 'The whole line on real data, in a minute or two',
      example: 'athanor demo --once',
      options: [option('--once', 'end when done instead of serving on')],
      needs: 'nothing',
      act: async ({ options, signal }) => (await import('../commands/demo.ts')).demo(options, signal),
    },
    {
      name: 'train [data]',
      summary:
        'Train a classifier of texts (CSV, TSV, JSONL or Parquet) or images (idx), on a file, a folder per class, or npm:<package>@<version>',
      brief: 'Train on a file, a folder or a package; the best family wins',
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
      act: async ({ context, args, options }: ServerCall<TrainOptions>) =>
        (await import('../commands/train.ts')).train(context, args[0], options),
    },
    {
      name: 'advise <data>',
      summary: 'Look at a data set and say what to try on it, and why; trains nothing',
      example: 'athanor advise reviews.csv',
      options: [...columns, ...learnt, option('--drop-unlabelled', 'leave out rows without a label')],
      needs: 'server',
      act: async ({ context, args, options }) =>
        (await import('../commands/advise.ts')).advise(context, args[0], options),
    },
    {
      name: 'search <data>',
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
      act: async ({ context, args, options }: ServerCall<TrainOptions>) =>
        (await import('../commands/train.ts')).train(context, args[0], { ...options, search: true }),
    },
    {
      name: 'refine <model> [data]',
      summary: 'Make a version smaller or faster: measured against it, and registered only if nothing got worse',
      brief: 'Make it smaller or faster, as far as it stays as good',
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
      act: async ({ context, args, options }: ServerCall<RefineOptions>) =>
        (await import('../commands/refine.ts')).refine(context, args[0], args[1], options),
    },
    {
      name: 'evaluate <model> <data>',
      summary: 'Measure a version on data: accuracy, F1, errors, perplexity, as its task has it',
      example: 'athanor evaluate sentiment@champion test.csv',
      options: [...columns, ...targets],
      needs: 'server',
      act: async ({ context, args, options }) =>
        (await import('../commands/run.ts')).evaluate(context, args[0], args[1], options),
    },
    {
      name: 'import <path>',
      summary:
        'Register a model of another format: a file, a folder with all of its files, npm:<package>@<version>#<path>, or hf:OWNER/NAME@revision',
      brief: 'Register a model of another format',
      example: 'athanor import model.h5 --name reviews --tokenizer tokenizer.json --labels bad,good',
      options: [
        option('--name <name>', 'the model to register'),
        option('--format <format>', 'what it is (found out if not given); see athanor formats'),
        () => new Option('--task <task>', 'what it is for, where its files do not say').choices(importTasks),
        option('--tokenizer <file>', 'the JSON of a Keras Tokenizer, or a tokenizer.json: the model then takes texts'),
        option('--labels <list>', 'labels of its outputs in order, separated by commas'),
        option('--length <number>', 'ids in a row, where the model does not say'),
        () => new Option('--padding <side>', 'where rows were padded (pre)').choices(['pre', 'post']),
        () => new Option('--truncating <side>', 'which end of long rows was cut off (pre)').choices(['pre', 'post']),
        () =>
          new Option('--pixels <scale>', 'images: 0 to 255, 0 to 1, -1 to 1, or by ImageNet’s scale').choices(
            pixelScales,
          ),
        () =>
          new Option('--fit <way>', 'images: the middle, all, or stretched (cover)').choices([
            'cover',
            'contain',
            'fill',
          ]),
        option('--description <text>', 'what it is for'),
      ],
      needs: 'server',
      act: async ({ context, args, options }: ServerCall<ImportFlags>) =>
        (await import('../commands/formats.ts')).importModel(context, args[0], options),
    },
    {
      name: 'export <model>',
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
      act: async ({ context, args, options }: ServerCall<ExportFlags>) =>
        (await import('../commands/formats.ts')).exportModel(context, args[0], options),
    },
    {
      name: 'formats',
      summary: 'List the formats that models are read from and written to',
      example: 'athanor formats',
      needs: 'server',
      act: async ({ context }) => (await import('../commands/formats.ts')).listFormats(context),
    },
    {
      name: 'compose <model> <file>',
      summary: 'Register a pipeline: classifiers that answer as one, averaged or chosen by a label (JSON)',
      example: 'athanor compose reviews pipeline.json',
      needs: 'server',
      act: async ({ context, args }) => (await import('../commands/deploy.ts')).compose(context, args[0], args[1]),
    },
  ],
}
