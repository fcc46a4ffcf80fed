/** The execution history: an SQLite database in the data folder. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import type Database from "libsql";

/** An executed cell: session, line, source, and its result as text if there was one. */
export type HistoryEntry = [session: number, line: number, source: string, output: string | null];

interface Row {
  session: number;
  line: number;
  source: string;
  output: string | null;
}

/** Longer results are truncated to this length, in UTF-16 units. */
const maxOutputLength = 10_000;

/** The first cell has this long for itself, in milliseconds: loading SQLite takes as much time as a small cell. */
const openAfterMs = 500;

/** The history of one kernel session. The database is opened after the first cell, to keep startup short. */
export class History {
  /** Ends the wait before the database is opened. */
  readonly #openNow = new AbortController();
  readonly #folder: string;
  readonly #log: (line: string) => void;
  #database: Promise<Database.Database | undefined> | undefined;
  #session = 0;
  /** Completes when all writes so far are done; writes are made in order. */
  #writes: Promise<void> = Promise.resolve();

  constructor(folder: string, log: (line: string) => void) {
    this.#folder = folder;
    this.#log = log;
  }

  #open(): Promise<Database.Database | undefined> {
    this.#database ??= (async () => {
      await pause(openAfterMs, undefined, { signal: this.#openNow.signal }).catch(() => {});
      try {
        const { default: Libsql } = await import("libsql");
        mkdirSync(this.#folder, { recursive: true });
        const database = new Libsql(join(this.#folder, "history.sqlite"));
        database.exec("PRAGMA journal_mode = WAL");
        database.exec("PRAGMA busy_timeout = 2000");
        database.exec("PRAGMA synchronous = NORMAL");
        database.exec(
          "CREATE TABLE IF NOT EXISTS sessions (session INTEGER PRIMARY KEY AUTOINCREMENT, started TEXT NOT NULL)",
        );
        database.exec(
          "CREATE TABLE IF NOT EXISTS cells (id INTEGER PRIMARY KEY, session INTEGER NOT NULL, line INTEGER NOT NULL, source TEXT NOT NULL)",
        );
        const columns = database.prepare("SELECT name FROM pragma_table_info('cells')").all() as { name: string }[];
        // Databases of the first version lack this column.
        if (!columns.some(({ name }) => name === "output")) database.exec("ALTER TABLE cells ADD COLUMN output TEXT");
        database.exec("CREATE INDEX IF NOT EXISTS cells_by_session ON cells (session, line)");
        const { lastInsertRowid } = database
          .prepare("INSERT INTO sessions (started) VALUES (?)")
          .run(new Date().toISOString());
        this.#session = Number(lastInsertRowid);
        return database;
      } catch (error) {
        this.#log(`cannot open the history in ${this.#folder}: ${error instanceof Error ? error.message : error}`);
        return undefined;
      }
    })();
    return this.#database;
  }

  /** Adds a cell. Returns at once; a failure is only logged. */
  add(line: number, source: string): void {
    this.#writes = this.#writes.then(async () => {
      const database = await this.#open();
      try {
        database
          ?.prepare("INSERT INTO cells (session, line, source) VALUES (?, ?, ?)")
          .run(this.#session, line, source);
      } catch (error) {
        this.#log(`cannot add a cell to the history: ${error instanceof Error ? error.message : error}`);
      }
    });
  }

  /** Adds the result of a cell of this session. */
  addOutput(line: number, text: string): void {
    this.#writes = this.#writes.then(async () => {
      const database = await this.#open();
      try {
        database
          ?.prepare("UPDATE cells SET output = ? WHERE session = ? AND line = ?")
          .run(text.slice(0, maxOutputLength), this.#session, line);
      } catch (error) {
        this.#log(`cannot add a result to the history: ${error instanceof Error ? error.message : error}`);
      }
    });
  }

  /** Resolves when everything that was added has been written. */
  get written(): Promise<void> {
    this.#openNow.abort();
    return this.#writes;
  }

  async #rows(sql: string, ...values: (string | number)[]): Promise<HistoryEntry[]> {
    await this.written;
    const database = await this.#open();
    const rows = (database?.prepare(sql).all(...values) ?? []) as Row[];
    return rows.map(({ session, line, source, output }) => [session, line, source, output]);
  }

  /** The last `n` cells, oldest first. */
  async tail(n: number): Promise<HistoryEntry[]> {
    return (await this.#rows("SELECT session, line, source, output FROM cells ORDER BY id DESC LIMIT ?", n)).reverse();
  }

  /**
   * Cells of one session.
   * @param session the session's number; 0 is the current one, negative numbers count back from it
   * @param start first line
   * @param stop end line, exclusive; undefined for all
   */
  async range(session: number, start: number, stop: number | undefined): Promise<HistoryEntry[]> {
    await this.written;
    await this.#open();
    const number = session > 0 ? session : this.#session + session;
    return this.#rows(
      "SELECT session, line, source, output FROM cells WHERE session = ? AND line >= ? AND line < ? ORDER BY id",
      number,
      start,
      stop ?? Number.MAX_SAFE_INTEGER,
    );
  }

  /**
   * The last `n` cells that match a pattern with `*` and `?`, oldest first.
   * @param unique return each source only once, at its last occurrence
   */
  async search(pattern: string, n: number | undefined, unique: boolean): Promise<HistoryEntry[]> {
    const group = unique ? "GROUP BY source" : "";
    const id = unique ? "MAX(id)" : "id";
    const sql = `SELECT session, line, source, output, ${id} AS latest FROM cells WHERE source GLOB ? ${group} ORDER BY latest DESC LIMIT ?`;
    return (await this.#rows(sql, pattern, n ?? -1)).reverse();
  }

  /** Completes all writes and closes the database. */
  async close(): Promise<void> {
    await this.written;
    (await this.#database)?.close();
  }
}
