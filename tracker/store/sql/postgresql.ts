import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { promisify } from "node:util";
import pg from "pg";
import { invalid, TrackerError } from "../../errors.ts";
import type { Relay } from "../../events.ts";
import type { RegexPart } from "../regex.ts";
import {
  type Connection,
  checkValues,
  type Database,
  type Dialect,
  type NumberColumn,
  type SqlValue,
} from "./database.ts";
import { postgresqlRelay } from "./relay.ts";

const escaped = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|-]/g, "\\$&");

const regexPart = (part: RegexPart): string => {
  if (part.kind === "text") return escaped(part.text);
  if (part.kind === "one") return ".";
  if (part.kind === "many") return ".*";
  const ranges = part.ranges.map(([from, to]) => (from === to ? escaped(from) : `${escaped(from)}-${escaped(to)}`));
  return `[${part.negated ? "^" : ""}${ranges.join("")}]`;
};

const dialect: Dialect = {
  name: "postgresql",
  among: (column, not = false) => (not ? `${column} <> ALL(?)` : `${column} = ANY(?)`),
  like: (column, caseless) => ({
    text: `${column} ${caseless ? "ILIKE" : "LIKE"} ? ESCAPE ''`,
    pattern: (pattern) => pattern,
  }),
  matches: (column, alternatives) => ({
    text: `${column} ~ ?`,
    values: [`^(${alternatives.map((parts) => parts.map(regexPart).join("")).join("|")})$`],
  }),
  jsonText: (column, path) => `(${column}::json #>> '{${path.join(",")}}')`,
  jsonMember: (column, field) => `(${column}::json -> '${field}' ->> ?::text)`,
  points: `string_agg(format('{"key":%s,"value":%s,"timestamp":%s,"step":%s}', ?::text,
    CASE is_nan WHEN 1 THEN '"NaN"' ELSE value::text END, timestamp, step), ',')`,
  lock: " FOR NO KEY UPDATE",
  lateral: true,
};

/** Connections of one process. */
const POOL = 10;
/** Maximum number of attempts of a transaction with conflicts. */
const TRIES = 5;

/**
 * Errors caused by concurrent transactions: deadlocks, failed serialization, and rows that were added or deleted between
 * a check and a write. A retry detects these in the check.
 */
const AGAIN = new Set(["40001", "40P01", "23505", "23503"]);

/** 64-bit integers as numbers: they are times, counts and steps, which are validated to be below 2^53. */
const types: pg.CustomTypesConfig = {
  getTypeParser: (oid, format) =>
    oid === pg.types.builtins.INT8 ? Number : pg.types.getTypeParser(oid as number, format as "text"),
};

const texts = new Map<string, string>();

/** Converts `?` to PostgreSQL's $1, $2. */
function numbered(sql: string): string {
  const known = texts.get(sql);
  if (known !== undefined) return known;
  let count = 0;
  const text = sql.replace(/\?/g, () => `$${++count}`);
  if (texts.size > 1000) texts.clear();
  texts.set(sql, text);
  return text;
}

class PostgresqlConnection implements Connection {
  readonly dialect = dialect;
  readonly #client: pg.Pool | pg.ClientBase;

  constructor(client: pg.Pool | pg.ClientBase) {
    this.#client = client;
  }

  async #query(sql: string, values: SqlValue[]): Promise<pg.QueryResult> {
    checkValues(values);
    const text = numbered(sql);
    try {
      // Named statements are cached by the server. The best plan of a search depends on its values, so searches have no name.
      const kept = text.length < 400 && !text.includes(" LIMIT ");
      return await this.#client.query({ text, values, ...(kept ? { name: nameOf(text) } : {}) });
    } catch (error) {
      throw explained(error);
    }
  }

  async all<Row>(sql: string, ...values: SqlValue[]): Promise<Row[]> {
    return (await this.#query(sql, values)).rows as Row[];
  }

  async get<Row>(sql: string, ...values: SqlValue[]): Promise<Row | undefined> {
    return (await this.#query(sql, values)).rows[0] as Row | undefined;
  }

  async run(sql: string, ...values: SqlValue[]): Promise<number> {
    return (await this.#query(sql, values)).rowCount ?? 0;
  }

  async insertNumbers(
    table: string,
    columns: readonly NumberColumn[],
    rows: readonly (readonly number[])[],
  ): Promise<void> {
    const names = columns.map(({ name }) => name).join(", ");
    const lists = columns.map(({ kind }) => (kind === "real" ? "?::float8[]" : "?::bigint[]")).join(", ");
    const values = columns.map((_, at) => rows.map((row) => row[at] ?? 0));
    await this.run(`INSERT INTO ${table} (${names}) SELECT * FROM unnest(${lists}) ON CONFLICT DO NOTHING`, ...values);
  }
}

const names = new Map<string, string>();

function nameOf(text: string): string {
  let name = names.get(text);
  if (name === undefined) {
    name = createHash("sha256").update(text).digest("base64url").slice(0, 20);
    if (names.size > 1000) names.clear();
    names.set(text, name);
  }
  return name;
}

const codeOf = (error: unknown): string =>
  error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "";

/** A database that is down or starting is a temporary error: clients retry. */
function explained(error: unknown): unknown {
  const code = codeOf(error);
  // Class 22: a value out of the range of its column's type, such as a number of 30 digits.
  if (/^22/.test(code)) return invalid(`Invalid value: ${error instanceof Error ? error.message : code}.`);
  const away = ["ECONNREFUSED", "ECONNRESET", "ENOTFOUND", "ENOENT", "ETIMEDOUT", "EPIPE"].includes(code);
  const ended =
    error instanceof Error && /Connection terminated|timeout exceeded when trying to connect/.test(error.message);
  // Classes 08 (connection), 53 (resources, such as a full disk) and 57P (the server stops or starts).
  if (!away && !ended && !/^(08|53|57P)/.test(code)) return error;
  const why = error instanceof Error ? error.message : String(error);
  return new TrackerError("TEMPORARILY_UNAVAILABLE", `The tracker's database does not answer (${why}). Try again.`);
}

function passwordOf(address: string): string | undefined {
  try {
    return decodeURIComponent(new URL(address).password) || undefined;
  } catch {
    return undefined;
  }
}

/** The address without its password. */
function nameOfAddress(address: string): string {
  try {
    const url = new URL(address);
    url.password = "";
    return url.href;
  } catch {
    return "the PostgreSQL database";
  }
}

/**
 * A PostgreSQL database, for a tracker of several processes.
 * @param address `postgresql://user:password@host:port/database`
 * @param backups folder for dumps by `pg_dump` before schema changes
 * @throws if the server does not respond or rejects the user
 */
export async function openPostgresql(address: string, backups: string): Promise<{ db: Database; relay: Relay }> {
  const pool = new pg.Pool({ connectionString: address, max: POOL, types, connectionTimeoutMillis: 10_000 });
  // The pool replaces an idle connection that breaks; persistent problems show up in the next request.
  pool.on("error", () => undefined);
  const name = nameOfAddress(address);
  const plain = new PostgresqlConnection(pool);
  let relay: Relay;
  try {
    relay = await postgresqlRelay(address, pool);
  } catch (error) {
    await pool.end();
    const why = error instanceof Error ? error.message || codeOf(error) : String(error);
    throw new Error(`The database ${name} cannot be opened: ${why}. Check the address, the user and the password.`);
  }

  async function attempt<T>(work: (connection: Connection) => Promise<T>): Promise<T> {
    const client = await pool.connect().catch((error: unknown) => {
      throw explained(error);
    });
    let broken = false;
    const lost = (): void => {
      broken = true;
    };
    // The current statement fails by itself; without a listener, the event would end the process.
    client.on("error", lost);
    try {
      await client.query("BEGIN");
      const result = await work(new PostgresqlConnection(client));
      await client.query("COMMIT");
      return result;
    } catch (error) {
      await client.query("ROLLBACK").catch(lost);
      throw explained(error);
    } finally {
      client.off("error", lost);
      client.release(broken);
    }
  }

  const db: Database = {
    name,
    dialect,
    all: (sql, ...values) => plain.all(sql, ...values),
    get: (sql, ...values) => plain.get(sql, ...values),
    run: (sql, ...values) => plain.run(sql, ...values),
    insertNumbers: (...to) => plain.insertNumbers(...to),
    async transaction(work) {
      for (let tried = 1; ; tried++) {
        try {
          return await attempt(work);
        } catch (error) {
          if (tried === TRIES || !AGAIN.has(codeOf(error))) throw error;
        }
      }
    },
    async execute(sql) {
      await pool.query(sql);
    },
    async backup(schemaVersion) {
      const file = join(backups, `tracker.schema-${schemaVersion}.${Date.now()}.dump`);
      const env = { ...process.env, PGPASSWORD: passwordOf(address) ?? process.env.PGPASSWORD };
      try {
        await promisify(execFile)("pg_dump", ["--format=custom", `--file=${file}`, `--dbname=${name}`], { env });
        return file;
      } catch (error) {
        if (codeOf(error) === "ENOENT") return undefined;
        const why = error instanceof Error && "stderr" in error ? String(error.stderr).trim() : String(error);
        throw new Error(`pg_dump could not copy ${name} before its schema is changed: ${why}`);
      }
    },
    // PostgreSQL reclaims space by itself.
    async compact() {},
    async close() {
      if (!pool.ending) await pool.end();
    },
  };
  return { db, relay };
}
