import { chmodSync, closeSync, existsSync, openSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import Libsql from "libsql";
import { unavailable } from "../../errors.ts";
import { counted, currentRequest, nextTurn } from "../../turn.ts";
import type { RegexPart } from "../regex.ts";
import { type Connection, checkValues, chunks, type Database, type Dialect, type SqlValue } from "./database.ts";

/** Converts a LIKE pattern to GLOB, which is case-sensitive in SQLite. */
const glob = (pattern: string): string => pattern.replace(/[*?[]/g, "[$&]").replace(/%/g, "*").replace(/_/g, "?");

/** A set of characters for GLOB, in which `]` must be the first, `-` the last, and `^` neither. */
function globSet(negated: boolean, ranges: readonly (readonly [string, string])[]): string {
  const single = (char: string) => ranges.some(([from, to]) => from === char && to === char);
  const others = ranges.filter(([from, to]) => from !== to || !"]-^".includes(from));
  const written = others.map(([from, to]) => (from === to ? from : `${from}-${to}`)).join("");
  const ends = [single("]") ? "]" : "", written, single("^") ? "^" : "", single("-") ? "-" : ""].join("");
  // A lone ^ would negate the set.
  return !negated && ends === "^" ? "^" : `[${negated ? "^" : ""}${ends === "^-" ? "-^" : ends}]`;
}

const globPart = (part: RegexPart): string => {
  if (part.kind === "text") return part.text.replace(/[*?[]/g, "[$&]");
  if (part.kind === "set") return globSet(part.negated, part.ranges);
  return part.kind === "one" ? "?" : "*";
};

/** JSON as text, without the quotes of a string. */
const jsonValue = (type: string, value: string, json: string): string =>
  `CASE ${type} WHEN 'text' THEN ${value} WHEN 'null' THEN NULL ELSE ${json} END`;

const dialect: Dialect = {
  name: "sqlite",
  among: (column, not = false) => `${column} ${not ? "NOT IN" : "IN"} (SELECT value FROM json_each(?))`,
  like: (column, caseless) =>
    caseless
      ? { text: `${column} LIKE ?`, pattern: (pattern) => pattern }
      : { text: `${column} GLOB ?`, pattern: glob },
  matches: (column, alternatives) => ({
    text: `(${alternatives.map(() => `${column} GLOB ?`).join(" OR ")})`,
    values: alternatives.map((parts) => parts.map(globPart).join("")),
  }),
  jsonText: (column, path) => {
    const at = `'$.${path.join(".")}'`;
    return jsonValue(`json_type(${column}, ${at})`, `${column} ->> ${at}`, `${column} -> ${at}`);
  },
  jsonMember: (column, field) =>
    `(SELECT ${jsonValue("j.type", "j.value", `CASE j.type WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' ELSE CAST(j.value AS TEXT) END`)}
      FROM json_each(${column}, '$.${field}') j WHERE j.key = ?)`,
  // Seventeen digits identify a double exactly.
  points: `group_concat(format('{"key":%s,"value":%s,"timestamp":%d,"step":%d}', ?,
    CASE is_nan WHEN 1 THEN '"NaN"' ELSE format('%!.17g', value) END, timestamp, step))`,
  lock: "",
  lateral: false,
};

/** Maximum number of cached prepared statements. */
const KEPT = 300;
/** Milliseconds to wait while another process holds a lock on the file. */
const PATIENCE = 5000;
/** Rows per INSERT: many, because each statement has a fixed cost. */
const ROWS = 100;

/** A connection to a SQLite file. Statements run on the main thread: see inTurn(). */
class SqliteConnection implements Connection {
  readonly dialect = dialect;
  readonly db: Libsql.Database;
  readonly #statements = new Map<string, Libsql.Statement>();
  /** When a lock of another process was first met; undefined since the last statement that met none. */
  #lockedSince: number | undefined;

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
    // From here on #unlocked waits for locks: waiting within SQLite would stop the whole server.
    this.db.pragma("busy_timeout = 0");
  }

  /**
   * Runs a statement, again while another process holds a lock on the file.
   * @throws TEMPORARILY_UNAVAILABLE if the lock has been held for long
   */
  async #unlocked<T>(statement: () => T): Promise<T> {
    const request = currentRequest();
    for (;;) {
      try {
        // Most statements wait for nothing, and there are many of them.
        const turn = request && nextTurn(request);
        if (turn) await turn;
        const result = request ? counted(request, statement) : statement();
        this.#lockedSince = undefined;
        return result;
      } catch (error) {
        if (!isLock(error)) throw error;
        // Of many requests in a queue, only the first waits this long.
        this.#lockedSince ??= performance.now();
        if (performance.now() - this.#lockedSince > PATIENCE) {
          throw unavailable("Another process holds a lock on the tracker's database. Try again.");
        }
        await pause(20);
      }
    }
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

  all<Row>(sql: string, ...values: SqlValue[]): Promise<Row[]> {
    return this.#unlocked(() => this.#prepare(sql).all(bound(values)) as Row[]);
  }

  get<Row>(sql: string, ...values: SqlValue[]): Promise<Row | undefined> {
    return this.#unlocked(() => this.#prepare(sql).get(bound(values)) as Row | undefined);
  }

  run(sql: string, ...values: SqlValue[]): Promise<number> {
    return this.#unlocked(() => this.#prepare(sql).run(bound(values)).changes);
  }

  async insertNumbers(
    table: string,
    columns: readonly { name: string }[],
    rows: readonly (readonly number[])[],
  ): Promise<void> {
    const into = `INSERT OR IGNORE INTO ${table} (${columns.map(({ name }) => name).join(", ")}) VALUES `;
    const row = `(${columns.map(() => "?").join(", ")})`;
    // Numbers need no checks, which would take as long as storing them.
    const insert = (sql: string, values: readonly number[]) =>
      this.#unlocked(() => this.#prepare(sql).run(values as number[]).changes);
    const many = rows.length < ROWS ? "" : into + Array(ROWS).fill(row).join(", ");
    for (const part of chunks(rows, ROWS)) {
      if (part.length === ROWS) await insert(many, part.flat());
      else for (const values of part) await insert(into + row, values);
    }
  }

  async execute(sql: string): Promise<void> {
    await this.#unlocked(() => this.db.exec(sql));
  }

  close(): void {
    this.#statements.clear();
    this.db.close();
  }
}

const isLock = (error: unknown): boolean =>
  error instanceof Error && "code" in error && /^SQLITE_(BUSY|LOCKED)/.test(String(error.code));

/** Values for the binding: lists become JSON. */
function bound(values: readonly SqlValue[]): (string | number | null)[] {
  checkValues(values);
  return values.map((value) => (value === null || typeof value !== "object" ? value : JSON.stringify(value)));
}

/** Creates the file, and takes the rights of others from it. SQLite gives the files beside it the same rights. */
function makePrivate(path: string): void {
  closeSync(openSync(path, "a", 0o600));
  for (const file of [path, `${path}-wal`, `${path}-shm`]) if (existsSync(file)) chmodSync(file, 0o600);
}

/**
 * A SQLite file with two connections: one for writing, with one transaction at a time, and one for concurrent reading of
 * committed data.
 */
export function openSqlite(path: string): Database {
  makePrivate(path);
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
    execute: (sql) => writer.execute(sql),
    async backup(schemaVersion) {
      for (let copy = 0; ; copy++) {
        const target = `${path}.schema-${schemaVersion}${copy === 0 ? "" : `-${copy}`}.backup`;
        if (existsSync(target)) continue;
        await writer.run("VACUUM INTO ?", target);
        chmodSync(target, 0o600);
        return target;
      }
    },
    async compact() {
      await writer.execute("VACUUM");
      await writer.execute("PRAGMA wal_checkpoint(TRUNCATE)");
    },
    async close() {
      await last;
      reader.close();
      writer.close();
    },
  };
}
