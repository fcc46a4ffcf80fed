import { invalid } from "../../errors.ts";
import type { RegexPart } from "../regex.ts";

/** A value for a `?`. Lists are for {@link Dialect.among}. */
export type SqlValue = string | number | null | readonly (string | number)[];

/** The differences between SQLite and PostgreSQL. All other SQL is common to both. */
export interface Dialect {
  name: "sqlite" | "postgresql";
  /** Condition that a column is, or is not, in a list. Its one `?` is the list. */
  among(column: string, not?: boolean): string;
  /** Condition with one `?` for a pattern with % and _, and the conversion of the pattern. Ignores case for ASCII only. */
  like(column: string, caseless: boolean): { text: string; pattern(pattern: string): string };
  /** Condition that a column matches one of the alternatives of a regular expression, from its beginning to its end. */
  matches(column: string, alternatives: readonly RegexPart[][]): { text: string; values: SqlValue[] };
  /** Expression of the member at a path of a column's JSON: a text as it is, another value as JSON; null if it is missing. */
  jsonText(column: string, path: readonly string[]): string;
  /** The same for a member of the object in `field`, by a name for the expression's one `?`. */
  jsonMember(column: string, field: string): string;
  /**
   * Aggregate that writes points (`step`, `timestamp`, `value`, `is_nan`) as exact JSON, joined by commas. Its one
   * `?` is the metric's key in JSON.
   */
  points: string;
  /** Suffix of a SELECT that locks its rows until the end of the transaction. */
  lock: string;
  /** Whether FROM supports `LATERAL`. */
  lateral: boolean;
}

/** Executes statements. `?` is the placeholder for values. */
export interface Connection {
  readonly dialect: Dialect;
  all<Row>(sql: string, ...values: SqlValue[]): Promise<Row[]>;
  /** The first row. */
  get<Row>(sql: string, ...values: SqlValue[]): Promise<Row | undefined>;
  /** @returns the number of changed rows */
  run(sql: string, ...values: SqlValue[]): Promise<number>;
  /** Adds rows of numbers to a table; existing ones are not changed. */
  insertNumbers(table: string, columns: readonly NumberColumn[], rows: readonly (readonly number[])[]): Promise<void>;
}

export interface NumberColumn {
  name: string;
  kind: "integer" | "real";
}

export interface Database extends Connection {
  /** Names the database in messages, without its password. */
  readonly name: string;
  /**
   * Runs `work` as one transaction, which is rolled back if it throws. `work` may be repeated from its
   * start after a conflict with another process, so it must have no effect except on the given connection.
   */
  transaction<T>(work: (connection: Connection) => Promise<T>): Promise<T>;
  /** Several statements without values, such as a schema. */
  execute(sql: string): Promise<void>;
  /** Backs up the database before its schema changes. @returns the backup's path, or undefined if it is not possible */
  backup(schemaVersion: number): Promise<string | undefined>;
  /** Returns free space to the system. */
  compact(): Promise<void>;
  close(): Promise<void>;
}

/**
 * Checks values before they are bound.
 * @throws INVALID_PARAMETER_VALUE for text with a NUL, which neither database can store
 */
export function checkValues(values: readonly SqlValue[]): void {
  for (const value of values) {
    if (typeof value === "string") checkText(value);
    else if (Array.isArray(value)) checkValues(value);
    // The SQLite binding ends the process for a value of an unsupported type.
    else if (value !== null && typeof value !== "number") throw new TypeError(`a ${typeof value} cannot be stored`);
  }
}

function checkText(text: string): void {
  if (text.includes("\0")) {
    throw invalid(`The value ${JSON.stringify(text.slice(0, 80))} holds a NUL character, which cannot be stored.`);
  }
}

/** Splits a list, because a database limits the number of values of a statement. */
export function* chunks<T>(items: readonly T[], size: number): Generator<T[]> {
  for (let at = 0; at < items.length; at += size) yield items.slice(at, at + size);
}

/** Rows per statement: few, so that all variants of the statement can be cached. */
const ROWS = 100;

/** Groups of rows, each with the `(?, ?), (?, ?)` and the values of one INSERT. */
export function* rowsOf(rows: readonly (readonly SqlValue[])[]): Generator<{ marks: string; values: SqlValue[] }> {
  for (const part of chunks(rows, ROWS)) {
    const mark = `(${(part[0] ?? []).map(() => "?").join(", ")})`;
    yield { marks: part.map(() => mark).join(", "), values: part.flat() as SqlValue[] };
  }
}

/** Adds a value to the list of its owner, which is created if necessary. */
export function push<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const list = map.get(key);
  if (list) list.push(value);
  else map.set(key, [value]);
}

/** The texts that are numeric ids, as numbers. "1 OR 1" must not become 1. */
export const numericIds = (ids: readonly string[]): number[] => ids.filter((id) => /^\d{1,15}$/.test(id)).map(Number);
