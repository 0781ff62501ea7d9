import { Option } from 'commander'
import type { KeyFlags, LimitFlags } from '../commands/access.ts'
import { type CommandGroup, option, type ServerCall } from '../entry.ts'

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

export const shareCommands: CommandGroup = {
  title: 'Share',
  commands: [
    {
      name: 'login <url>',
      summary:
        'Sign in to a server, which commands then talk to. Its key comes from ATHANOR_KEY, a pipe, or is asked for',
      brief: 'Sign in to a server with a key, once',
      example: 'athanor login https://models.example.org',
      needs: 'nothing',
      act: async ({ args, options }) => (await import('../commands/login.ts')).login(args[0], options),
    },
    {
      name: 'logout [url]',
      summary: 'Forget a server and its key: this one, or the one that commands talk to',
      example: 'athanor logout',
      needs: 'nothing',
      act: async ({ args, options }) => (await import('../commands/login.ts')).logout(args[0], options),
    },
    {
      name: 'whoami',
      summary: 'Show whom the server takes you for, and what is left of limits and budgets',
      example: 'athanor whoami',
      needs: 'nothing',
      act: async ({ options }) => (await import('../commands/login.ts')).whoami(options),
    },
    {
      name: 'keys <action> [name]',
      summary: 'Create, list, limit, rotate or revoke keys; a key is shown once',
      brief: 'Create, limit, rotate or revoke keys',
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
      act: async ({ context, args, options }: ServerCall<KeyFlags>) =>
        (await import('../commands/access.ts')).keys(context, args[0], args[1], options),
    },
    {
      name: 'tenants <action> [tenant]',
      summary: 'Create, list, set (limits) or close tenants: projects with models, data and keys of their own',
      example: 'athanor tenants create acme --budget 100 --requests-per-minute 600',
      options: limits,
      needs: 'server',
      act: async ({ context, args, options }: ServerCall<LimitFlags>) =>
        (await import('../commands/access.ts')).tenants(context, args[0], args[1], options),
    },
    {
      name: 'users <action> [name]',
      summary: 'List people of a tenant, or set the role of one',
      example: 'athanor users set li@example.com --role developer',
      options: [role, option('--disable', 'all of their keys do nothing from then on')],
      needs: 'server',
      act: async ({ context, args, options }) =>
        (await import('../commands/access.ts')).users(context, args[0], args[1], options),
    },
    {
      name: 'prices <action> [model]',
      summary: 'List, set or remove what a model costs; without a model, of all that have no price of their own',
      example: 'athanor prices set chat --input 0.15 --output 0.6',
      options: [
        option('--of <tenant>', 'for one tenant (all)'),
        option('--request <amount>', 'a request'),
        option('--input <amount>', 'a thousand tokens read'),
        option('--output <amount>', 'a thousand tokens written'),
      ],
      needs: 'server',
      act: async ({ context, args, options }) =>
        (await import('../commands/access.ts')).prices(context, args[0], args[1], options),
    },
    {
      name: 'usage',
      summary: 'Show what was used, by day, model and key',
      example: 'athanor usage --from 2026-11-01 --out november.csv',
      options: [
        option('--from <day>', 'first day, e.g. 2026-11-01'),
        option('--to <day>', 'last day'),
        option('--csv', 'as CSV'),
        option('--out <file>', 'write it to a file, as CSV'),
        everywhere,
      ],
      needs: 'server',
      act: async ({ context, options }) => (await import('../commands/access.ts')).usage(context, options),
    },
    {
      name: 'audit',
      summary: 'Show who changed what',
      example: 'athanor audit --actor li@example.com',
      options: [
        option('--actor <who>', 'of one person or key'),
        option('--limit <number>', 'how many (50)'),
        everywhere,
      ],
      needs: 'server',
      act: async ({ context, options }) => (await import('../commands/access.ts')).audit(context, options),
    },
  ],
}
