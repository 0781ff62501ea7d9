import { Option } from 'commander'
import type { DeployFlags } from '../commands/deploy.ts'
import { type Call, type CommandGroup, option, repeated } from '../entry.ts'

export const serveCommands: CommandGroup = {
  title: 'Serve',
  commands: [
    {
      name: 'serve',
      summary: 'Run the server until Ctrl-C',
      brief: 'Run the server',
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
      act: async ({ options }) => (await import('../commands/serve.ts')).serve(options),
    },
    {
      name: 'deploy <model> [version]',
      summary: 'Choose which versions answer for a model: one, a canary under test, weights, or a shadow beside them',
      brief: 'Choose which versions answer, or try one as a canary',
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
      act: async ({ context, args, options }) =>
        (await import('../commands/deploy.ts')).deploy(context, args[0], args[1], options as DeployFlags),
    },
    {
      name: 'tune <model>',
      summary: 'Measure threads, replicas and batches of a version on its examples, and serve it by the best',
      example: 'athanor tune sentiment',
      needs: 'server',
      act: async ({ context, args }) => (await import('../commands/deploy.ts')).tune(context, args[0]),
    },
    {
      name: 'rollback <model>',
      summary: 'End a trial, or go back to the version before',
      example: 'athanor rollback sentiment',
      needs: 'server',
      act: async ({ context, args }) => (await import('../commands/deploy.ts')).rollback(context, args[0]),
    },
    {
      name: 'promote <model>',
      summary: 'Give the canary all requests',
      example: 'athanor promote sentiment',
      needs: 'server',
      act: async ({ context, args }) => (await import('../commands/deploy.ts')).promote(context, args[0]),
    },
    {
      name: 'deployments [model]',
      summary: 'Show which versions answer, what trials have found, and every change',
      example: 'athanor deployments sentiment',
      needs: 'server',
      act: async ({ context, args }) => (await import('../commands/deploy.ts')).deployments(context, args[0]),
    },
    {
      name: 'pin <model>',
      summary: 'Keep a model in memory, or set how long it stays there without a request',
      example: 'athanor pin sentiment --keep-alive 30m',
      options: [
        option('--off', 'let it be unloaded again'),
        option('--keep-alive <time>', 'end its engines after so long without a request, e.g. 90s or never'),
      ],
      needs: 'server',
      act: async ({ context, args, options }) => (await import('../commands/deploy.ts')).pin(context, args[0], options),
    },
    {
      name: 'backup <file>',
      summary: 'Write all models, data sets and runs to a file, while the server goes on',
      example: 'athanor backup monday.tar',
      needs: 'server',
      act: async ({ context, args }) => (await import('../commands/backup.ts')).backup(context, args[0]),
    },
    {
      name: 'restore <file>',
      summary: 'Fill an empty data folder (or ATHANOR_DATABASE and ATHANOR_BLOBS) from a backup: all of it, or nothing',
      example: 'athanor restore monday.tar',
      needs: 'nothing',
      act: async ({ args, options }) => (await import('../commands/backup.ts')).restore(args[0], options),
    },
    {
      name: 'migrate',
      summary:
        'Copy the data folder of a server that is not running to PostgreSQL, and to an object store: all of it, or nothing',
      example: 'athanor migrate --to postgres://athanor@db/athanor',
      options: [
        () => new Option('--to <address>', 'a database that nothing is in').makeOptionMandatory(),
        option('--blobs <address>', 's3://bucket?endpoint=… (files stay in the data folder otherwise)'),
      ],
      needs: 'nothing',
      act: async ({ options }: Call<{ to: string; blobs?: string }>) =>
        (await import('../commands/backup.ts')).migrate(options),
    },
    {
      name: 'engines [action] [engine]',
      summary: 'List engines; install llama (GGUF files, 85 MB) or transformers (more tasks of the hub, 475 MB)',
      example: 'athanor engines install llama',
      needs: 'nothing',
      act: async ({ args, options }) => (await import('../commands/engines.ts')).engines(args[0], args[1], options),
    },
    {
      name: 'doctor',
      summary: 'Check what Athanor needs from this machine',
      example: 'athanor doctor',
      needs: 'nothing',
      act: async ({ options }) => (await import('../commands/doctor.ts')).doctor(options),
    },
  ],
}
