import { existsSync } from "node:fs";
import Libsql from "libsql";
import { type Connection, checkValues, chunks, type Database, type Dialect, type SqlValue } from "./database.ts";

/** Converts a LIKE pattern to GLOB, which is case-sensitive in SQLite. */
const glob = (pattern: string): string => pattern.replace(/[*?[]/g, "[$&]").replace(/%/g, "*").replace(/_/g, "?");

const dialect: Dialect = {
  name: "sqlite",
  among: (column, not = false) => `${column} ${not ? "NOT IN" : "IN"} (SELECT value FROM json_each(?))`,
  like: (column, caseless) =>
    caseless
      ? { text: `${column} LIKE ?`, pattern: (pattern) => pattern }
      : { text: `${column} GLOB ?`, pattern: glob },
  // Seventeen digits identify a double exactly.
  points: `group_concat(format('{"key":%s,"value":%s,"timestamp":%d,"step":%d}', ?,
    CASE is_nan WHEN 1 THEN '"NaN"' ELSE format('%!.17g', value) END, timestamp, step))`,
  lock: "",
  lateral: false,
};

/** Maximum number of cached prepared statements. */
const KEPT = 300;
/** Rows per INSERT: many, because each statement has a fixed cost. */
const ROWS = 100;

/** A synchronous connection to a SQLite file. */
class SqliteConnection implements Connection {
  readonly dialect = dialect;
  readonly db: Libsql.Database;
  readonly #statements = new Map<string, Libsql.Statement>();

  constructor(path: string, { readonly = false } = {}) {
    this.db = new Libsql(path, { timeout: 10_000 });
    // WAL with NORMAL: a killed process loses no commits; a power failure may lose the last commits,
    // but never corrupts the file.
    this.db.pragma("journal_mode = WAL");
    this.db.pragma("synchronous = NORMAL");
    this.db.pragma("foreign_keys = ON");
    this.db.pragma("cache_size = -32768");
    this.db.pragma("temp_store = MEMORY");
    if (readonly) this.db.pragma("query_only = ON");
  }

  #prepare(sql: string): Libsql.Statement {
    const known = this.#statements.get(sql);
    if (known) return known;
    const statement = this.db.prepare(sql);
    this.#statements.set(sql, statement);
    if (this.#statements.size > KEPT) {
      const [oldest] = this.#statements.keys();
      if (oldest !== undefined) this.#statements.delete(oldest);
    }
    return statement;
  }

  async all<Row>(sql: string, ...values: SqlValue[]): Promise<Row[]> {
    return this.#prepare(sql).all(bound(values)) as Row[];
  }

  async get<Row>(sql: string, ...values: SqlValue[]): Promise<Row | undefined> {
    return this.#prepare(sql).get(bound(values)) as Row | undefined;
  }

  async run(sql: string, ...values: SqlValue[]): Promise<number> {
    return this.#prepare(sql).run(bound(values)).changes;
  }

  async insertNumbers(
    table: string,
    columns: readonly { name: string }[],
    rows: readonly (readonly number[])[],
  ): Promise<void> {
    const into = `INSERT OR IGNORE INTO ${table} (${columns.map(({ name }) => name).join(", ")}) VALUES `;
    const row = `(${columns.map(() => "?").join(", ")})`;
    for (const part of chunks(rows, ROWS)) {
      if (part.length === ROWS) this.#prepare(into + Array(ROWS).fill(row).join(", ")).run(part.flat());
      else for (const values of part) this.#prepare(into + row).run([...values]);
    }
  }

  close(): void {
    this.#statements.clear();
    this.db.close();
  }
}

/** Values for the binding: lists become JSON. */
function bound(values: readonly SqlValue[]): (string | number | null)[] {
  checkValues(values);
  return values.map((value) => (value === null || typeof value !== "object" ? value : JSON.stringify(value)));
}

/**
 * A SQLite file with two connections: one for writing, with one transaction at a time, and one for concurrent reading of
 * committed data.
 */
export function openSqlite(path: string): Database {
  const writer = new SqliteConnection(path);
  const reader = new SqliteConnection(path, { readonly: true });
  let last: Promise<unknown> = Promise.resolve();

  async function alone<T>(work: (connection: Connection) => Promise<T>): Promise<T> {
    await writer.run("BEGIN IMMEDIATE");
    try {
      const result = await work(writer);
      await writer.run("COMMIT");
      return result;
    } catch (error) {
      // A full disk may already have ended the transaction.
      if (writer.db.inTransaction) await writer.run("ROLLBACK");
      throw error;
    }
  }
  const transaction = <T>(work: (connection: Connection) => Promise<T>): Promise<T> => {
    const result = last.then(() => alone(work));
    last = result.catch(() => undefined);
    return result;
  };

  return {
    name: path,
    dialect,
    all: (sql, ...values) => reader.all(sql, ...values),
    get: (sql, ...values) => reader.get(sql, ...values),
    run: (sql, ...values) => transaction((connection) => connection.run(sql, ...values)),
    insertNumbers: (...to) => transaction((connection) => connection.insertNumbers(...to)),
    transaction,
    async execute(sql) {
      writer.db.exec(sql);
    },
    async backup(schemaVersion) {
      for (let copy = 0; ; copy++) {
        const target = `${path}.schema-${schemaVersion}${copy === 0 ? "" : `-${copy}`}.backup`;
        if (existsSync(target)) continue;
        await writer.run("VACUUM INTO ?", target);
        return target;
      }
    },
    async compact() {
      writer.db.exec("VACUUM");
      writer.db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    },
    async close() {
      await last;
      reader.close();
      writer.close();
    },
  };
}
