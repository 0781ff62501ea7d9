import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite'
import {
  CompiledQuery,
  type DatabaseConnection,
  type Dialect,
  type Driver,
  type QueryResult,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
} from 'kysely'

/** Kysely over `node:sqlite`, which is synchronous: one connection, taken in turn. */
export function nodeSqliteDialect(open: () => DatabaseSync): Dialect {
  return {
    createAdapter: () => new Adapter(),
    createDriver: () => new NodeSqliteDriver(open),
    createIntrospector: (db) => new SqliteIntrospector(db),
    createQueryCompiler: () => new SqliteQueryCompiler(),
  }
}

/** SQLite changes tables within a transaction: a migration that is killed has changed nothing. */
class Adapter extends SqliteAdapter {
  override get supportsTransactionalDdl() {
    return true
  }
}

class NodeSqliteDriver implements Driver {
  readonly #open: () => DatabaseSync
  #database: DatabaseSync | undefined
  #connection: DatabaseConnection | undefined
  #free: Promise<void> = Promise.resolve()
  #release: () => void = () => {}

  constructor(open: () => DatabaseSync) {
    this.#open = open
  }

  async init() {
    this.#database = this.#open()
    this.#connection = connectionTo(this.#database)
  }

  /** Waits for whoever holds the connection: a transaction is never interleaved with another query. */
  async acquireConnection(): Promise<DatabaseConnection> {
    const before = this.#free
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#free = promise
    await before
    this.#release = resolve
    return this.#connection!
  }

  async releaseConnection() {
    this.#release()
  }

  async beginTransaction(connection: DatabaseConnection) {
    await connection.executeQuery(CompiledQuery.raw('begin immediate'))
  }
  async commitTransaction(connection: DatabaseConnection) {
    await connection.executeQuery(CompiledQuery.raw('commit'))
  }
  async rollbackTransaction(connection: DatabaseConnection) {
    await connection.executeQuery(CompiledQuery.raw('rollback'))
  }
  async destroy() {
    this.#database?.close()
  }
}

interface Ready {
  statement: StatementSync
  answers: boolean
}

/** Statements kept ready, those asked for last: preparing one takes longer than most take to run. */
const READY = 100
/** Characters of a statement that is kept; longer ones insert so many rows that they hardly come again. */
const LONGEST = 2_000

function connectionTo(database: DatabaseSync): DatabaseConnection {
  const prepare = ({ sql }: CompiledQuery) => database.prepare(sql)
  const ready = new Map<string, Ready>()
  const readyOf = (query: CompiledQuery): Ready => {
    const { sql } = query
    let found = ready.get(sql)
    ready.delete(sql)
    if (!found) {
      const statement = prepare(query)
      found = { statement, answers: statement.columns().length > 0 }
      // a pragma may take effect when it is prepared (https://www.sqlite.org/pragma.html)
      if (sql.length > LONGEST || /^\s*pragma/i.test(sql)) return found
      if (ready.size >= READY) ready.delete(ready.keys().next().value!)
    }
    ready.set(sql, found)
    return found
  }
  return {
    async executeQuery<R>(query: CompiledQuery): Promise<QueryResult<R>> {
      const { statement, answers } = readyOf(query)
      const parameters = query.parameters as SQLInputValue[]
      if (answers) return { rows: statement.all(...parameters) as R[] }
      const { changes, lastInsertRowid } = statement.run(...parameters)
      return { rows: [], numAffectedRows: BigInt(changes), insertId: BigInt(lastInsertRowid) }
    },
    async *streamQuery<R>(query: CompiledQuery): AsyncIterableIterator<QueryResult<R>> {
      for (const row of prepare(query).iterate(...(query.parameters as SQLInputValue[]))) yield { rows: [row as R] }
    },
  }
}
