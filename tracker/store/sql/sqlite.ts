import { existsSync } from "node:fs";
import Libsql from "libsql";
import { type Connection, checkValues, chunks, type Database, type Dialect, type SqlValue } from "./database.ts";

/** A LIKE pattern as GLOB, which SQLite matches with regard to case. */
const glob = (pattern: string): string => pattern.replace(/[*?[]/g, "[$&]").replace(/%/g, "*").replace(/_/g, "?");

const dialect: Dialect = {
  name: "sqlite",
  among: (column, not = false) => `${column} ${not ? "NOT IN" : "IN"} (SELECT value FROM json_each(?))`,
  like: (column, caseless) =>
    caseless
      ? { text: `${column} LIKE ?`, pattern: (pattern) => pattern }
      : { text: `${column} GLOB ?`, pattern: glob },
  // Seventeen digits give back the same number to the last bit.
  points: `group_concat(format('{"key":%s,"value":%s,"timestamp":%d,"step":%d}', ?,
    CASE is_nan WHEN 1 THEN '"NaN"' ELSE format('%!.17g', value) END, timestamp, step))`,
  lock: "",
  lateral: false,
};

/** Maximum number of cached prepared statements. */
const KEPT = 300;
/** Rows of one INSERT: many enough that the statement's cost is spread thin. */
const ROWS = 100;

/** One connection to a SQLite file. It answers at once, within the call. */
class SqliteConnection implements Connection {
  readonly dialect = dialect;
  readonly db: Libsql.Database;
  readonly #statements = new Map<string, Libsql.Statement>();

  constructor(path: string, { readonly = false } = {}) {
    this.db = new Libsql(path, { timeout: 10_000 });
    // WAL with NORMAL: a killed process loses nothing that was committed; a power cut may lose the last commits
    // but never the file's soundness.
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

/** Values as the binding takes them: a list as JSON. */
function bound(values: readonly SqlValue[]): (string | number | null)[] {
  checkValues(values);
  return values.map((value) => (value === null || typeof value !== "object" ? value : JSON.stringify(value)));
}

/**
 * A SQLite file, with a connection that writes, one transaction after the other, and one that reads beside it and sees
 * only what is committed.
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
      // A full disk may have ended the transaction already.
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
