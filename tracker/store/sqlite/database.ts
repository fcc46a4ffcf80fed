import Libsql from "libsql";
import { invalid } from "../../errors.ts";

export type SqlValue = string | number | null;

/** A prepared statement that is typed at its two ends. */
export interface Statement<Row> {
  run(...values: SqlValue[]): number;
  get(...values: SqlValue[]): Row | undefined;
  all(...values: SqlValue[]): Row[];
}

/**
 * One SQLite file. The binding ends the process on a value it cannot bind (a boolean, undefined),
 * so values go through here, where their type is checked by the compiler and once more at run time.
 */
export class Database {
  readonly path: string;
  #db: Libsql.Database;
  #statements = new Map<string, Statement<unknown>>();
  #depth = 0;

  constructor(path: string) {
    this.path = path;
    this.#db = new Libsql(path, { timeout: 10_000 });
    // WAL with NORMAL: a killed process loses nothing that was committed; a power cut may lose the last commits
    // but never the file's soundness.
    this.#db.pragma("journal_mode = WAL");
    this.#db.pragma("synchronous = NORMAL");
    this.#db.pragma("foreign_keys = ON");
    this.#db.pragma("cache_size = -65536");
    this.#db.pragma("temp_store = MEMORY");
  }

  /** The statement for an SQL text, prepared once. Texts must come from a bounded set; use `once` for built ones. */
  prepare<Row>(sql: string): Statement<Row> {
    const known = this.#statements.get(sql);
    if (known) return known as Statement<Row>;
    const statement = this.once<Row>(sql);
    this.#statements.set(sql, statement);
    return statement;
  }

  /** A statement that is not kept. */
  once<Row>(sql: string): Statement<Row> {
    const statement = this.#db.prepare(sql);
    return {
      run: (...values) => statement.run(checked(values)).changes,
      get: (...values) => statement.get(checked(values)) as Row | undefined,
      all: (...values) => statement.all(checked(values)) as Row[],
    };
  }

  exec(sql: string): void {
    this.#db.exec(sql);
  }

  /** Runs `work` as one transaction: all of it holds afterwards or, if it throws, none. May be nested. */
  transaction<T>(work: () => T): T {
    if (this.#depth > 0) return work();
    this.prepare("BEGIN IMMEDIATE").run();
    this.#depth += 1;
    try {
      const result = work();
      this.prepare("COMMIT").run();
      return result;
    } catch (error) {
      this.prepare("ROLLBACK").run();
      throw error;
    } finally {
      this.#depth -= 1;
    }
  }

  close(): void {
    this.#statements.clear();
    this.#db.close();
  }
}

function checked(values: SqlValue[]): SqlValue[] {
  for (const value of values) {
    if (value !== null && typeof value !== "string" && typeof value !== "number") {
      throw new TypeError(`a ${typeof value} cannot be stored in SQLite`);
    }
    // The binding would cut the text there without a word.
    if (typeof value === "string" && value.includes("\0")) {
      throw invalid(`The value ${JSON.stringify(value.slice(0, 80))} holds a NUL character, which cannot be stored.`);
    }
  }
  return values;
}

/** `?, ?, ?` for so many values. */
export const marks = (count: number): string => Array(count).fill("?").join(", ");

/** Splits a list so that no statement gets more values than SQLite takes. */
export function* chunks<T>(items: readonly T[], size: number): Generator<T[]> {
  for (let at = 0; at < items.length; at += size) yield items.slice(at, at + size);
}
