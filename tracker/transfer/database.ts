import { existsSync } from "node:fs";
import Libsql from "libsql";
import pg from "pg";

export type SqlRow = Record<string, string | number | null>;

/** A read-only database. `?` is the placeholder for values. */
export interface SqlReader {
  /** For display, without the password. */
  name: string;
  rows(sql: string, values: (string | number | null)[]): Promise<SqlRow[]>;
  tables(): Promise<string[]>;
  columns(table: string): Promise<string[]>;
  close(): Promise<void>;
}

/** Whether an address is a SQLAlchemy database URL. */
export const isDatabase = (uri: string): boolean => /^(sqlite|postgres(ql)?)(\+\w+)?:/i.test(uri);

/**
 * Opens `sqlite:///file` or `postgresql://user:password@host/name` for reading.
 * @throws if it does not exist
 */
export async function openReader(uri: string): Promise<SqlReader> {
  return /^sqlite/i.test(uri) ? openSqlite(uri) : openPostgres(uri);
}

function openSqlite(uri: string): SqlReader {
  // Three slashes and a relative path, or four and an absolute path.
  const path = decodeURIComponent(/^sqlite(?:\+\w+)?:\/\/\/([^?]*)/i.exec(uri)?.[1] ?? "");
  if (path === "" || !existsSync(path)) {
    throw new Error(`There is no file for ${uri}. Write sqlite:///relative/file.db or sqlite:////absolute/file.db.`);
  }
  const db = new Libsql(path, { timeout: 10_000 });
  db.pragma("query_only = ON");
  const rows = (sql: string, values: (string | number | null)[]): SqlRow[] => db.prepare(sql).all(values) as SqlRow[];
  return {
    name: uri,
    rows: async (sql, values) => rows(sql, values),
    tables: async () => rows("SELECT name FROM sqlite_master WHERE type = 'table'", []).map(({ name }) => String(name)),
    columns: async (table) =>
      rows(`SELECT name FROM pragma_table_info('${table}')`, []).map(({ name }) => String(name)),
    async close() {
      db.close();
    },
  };
}

async function openPostgres(uri: string): Promise<SqlReader> {
  const connectionString = uri.replace(/^postgres(ql)?(\+\w+)?:/i, "postgresql:");
  const name = connectionString.replace(/\/\/([^:@/]*):[^@/]*@/, "//$1@");
  // One connection; queries are queued.
  const client = new pg.Pool({ connectionString, connectionTimeoutMillis: 10_000, max: 1, idleTimeoutMillis: 0 });
  client.on("error", () => undefined);
  try {
    await client.query("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY");
  } catch (error) {
    await client.end().catch(() => undefined);
    throw new Error(`${name} cannot be opened: ${error instanceof Error ? error.message : String(error)}`);
  }
  const rows = async (sql: string, values: (string | number | null)[]): Promise<SqlRow[]> => {
    let number = 0;
    return (
      await client.query<SqlRow>(
        sql.replace(/\?/g, () => `$${++number}`),
        values,
      )
    ).rows;
  };
  const listed = async (sql: string, values: string[]) => (await rows(sql, values)).map(({ name }) => String(name));
  return {
    name,
    rows,
    tables: () =>
      listed("SELECT table_name AS name FROM information_schema.tables WHERE table_schema = current_schema()", []),
    columns: (table) =>
      listed(
        "SELECT column_name AS name FROM information_schema.columns WHERE table_schema = current_schema() AND table_name = ?",
        [table],
      ),
    close: () => client.end(),
  };
}
