import { Option } from 'commander'
import type { ModelOptions } from '../commands/models.ts'
import type { RemoteFlags } from '../commands/remote.ts'
import { type CommandGroup, option, repeated, type ServerCall } from '../entry.ts'

export const useCommands: CommandGroup = {
  title: 'Use',
  commands: [
    {
      name: 'run <model> [text...]',
      aliases: ['predict'],
      summary:
        'Classify texts (arguments, or lines of standard input) or image files; a model that writes goes on from texts',
      brief: 'Ask a model: texts, images, or lines of standard input',
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
      act: async ({ context, args, options }) =>
        (await import('../commands/run.ts')).run(context, args[0], (args[1] ?? []) as unknown as string[], options),
    },
    {
      name: 'models',
      aliases: ['ls'],
      summary: 'List models',
      brief: 'List and search models',
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
      act: async ({ context, options }: ServerCall<ModelOptions>) =>
        options.deleted
          ? (await import('../commands/registry.ts')).deleted(context)
          : (await import('../commands/models.ts')).models(context, options),
    },
    {
      name: 'show <model>',
      summary: 'Show a model’s card, or its graph',
      brief: 'Show a model: labels, figures, data, files',
      example: 'athanor show sentiment --graph',
      options: [
        option('--graph', 'print the ONNX graph of a model or .onnx file'),
        option('--data', 'print the card of the data it was trained on, as Markdown'),
        option('--snippets', 'print calls to copy: curl, TypeScript and Python for each protocol'),
        option('--versions', 'print its versions side by side'),
      ],
      needs: 'server',
      act: async ({
        context,
        args,
        options,
      }: ServerCall<{ graph?: boolean; data?: boolean; snippets?: boolean; versions?: boolean }>) =>
        options.versions
          ? (await import('../commands/registry.ts')).compareVersions(context, args[0])
          : options.snippets
            ? (await import('../commands/client.ts')).snippets(context, args[0])
            : (await import('../commands/models.ts')).show(context, args[0], options),
    },
    {
      name: 'card <model>',
      summary: 'Print the card of a model as Markdown, or replace it',
      example: 'athanor card sentiment --edit card.md',
      options: [option('--edit <file>', 'a Markdown file: licence, languages, limits and others as YAML before it')],
      needs: 'server',
      act: async ({ context, args, options }) =>
        (await import('../commands/registry.ts')).card(context, args[0], options),
    },
    {
      name: 'lineage <model>',
      summary: 'Show what a model came from and what became of it',
      example: 'athanor lineage sentiment',
      needs: 'server',
      act: async ({ context, args }) => (await import('../commands/registry.ts')).lineage(context, args[0]),
    },
    {
      name: 'tag <model> <tag...>',
      summary: 'Set tags of a model or version: a word, or name=value',
      example: 'athanor tag sentiment production team=search',
      options: [option('--remove', 'remove them')],
      needs: 'server',
      act: async ({ context, args, options }) =>
        (await import('../commands/registry.ts')).tag(context, args[0], args[1] as unknown as string[], options),
    },
    {
      name: 'remote <action> <name> <url>',
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
      act: async ({ context, args, options }: ServerCall<RemoteFlags>) =>
        (await import('../commands/remote.ts')).addRemote(context, args, options),
    },
    {
      name: 'client <model>',
      summary: 'Print a client of a model in TypeScript, with the types of its signature',
      example: 'athanor client sentiment > sentiment.ts',
      needs: 'server',
      act: async ({ context, args }) => (await import('../commands/client.ts')).typedClient(context, args[0]),
    },
    {
      name: 'alias <model> <alias> [version]',
      summary: 'Point an alias to a version; without a version, remove it',
      example: 'athanor alias sentiment champion 3',
      needs: 'server',
      act: async ({ context, args }) =>
        (await import('../commands/models.ts')).alias(context, args[0], args[1], args[2]),
    },
    {
      name: 'rm <model>',
      aliases: ['delete'],
      summary: 'Delete a model, or one version (name@3); it is kept for a while',
      example: 'athanor rm sentiment@2 --yes',
      options: [option('--yes', 'do not ask'), option('--undo', 'bring it back')],
      needs: 'server',
      act: async ({ context, args, options }: ServerCall<{ yes?: boolean; undo?: boolean }>) =>
        options.undo
          ? (await import('../commands/registry.ts')).undelete(context, args[0])
          : (await import('../commands/models.ts')).remove(context, args[0], options),
    },
    {
      name: 'gc',
      summary:
        'Purge what was deleted, and files of runs that failed, long enough ago; and files that nothing refers to',
      example: 'athanor gc --days 0',
      options: [option('--days <number>', 'how long ago (30, or ATHANOR_RETENTION_DAYS)')],
      needs: 'server',
      act: async ({ context, options }) => (await import('../commands/registry.ts')).gc(context, options),
    },
    {
      name: 'webhooks',
      summary: 'Have addresses told of changes of the registry',
      example: 'athanor webhooks --add https://example.org/hook --events version.registered,alias.set',
      options: [
        option('--add <address>', 'one more'),
        option('--events <list>', 'what it is told of, separated by commas (everything)'),
        option('--remove <id>', 'one less'),
      ],
      needs: 'server',
      act: async ({ context, options }) => (await import('../commands/registry.ts')).webhooks(context, options),
    },
  ],
}
