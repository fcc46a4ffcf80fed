import { invalid } from "../../errors.ts";

/** What can be bound to a `?`. A list goes with {@link Dialect.among}. */
export type SqlValue = string | number | null | readonly (string | number)[];

/** Where SQLite and PostgreSQL want different words. Everything else is written once, in the SQL that both take. */
export interface Dialect {
  name: "sqlite" | "postgresql";
  /** Condition that a column is, or is not, one of a list that is bound to its one `?`. */
  among(column: string, not?: boolean): string;
  /** Condition with one `?` for a pattern of % and _, and how the pattern is bound. Case is folded for ASCII only. */
  like(column: string, caseless: boolean): { text: string; pattern(pattern: string): string };
  /**
   * Aggregate that writes points (`step`, `timestamp`, `value`, `is_nan`) as JSON, joined by commas, to the last bit. Its one
   * `?` is the metric's key in JSON.
   */
  points: string;
  /** Ends a SELECT whose rows nobody else may change before the transaction ends. */
  lock: string;
  /** Whether FROM takes `LATERAL`. */
  lateral: boolean;
}

/** Something that takes statements. `?` stands for a value. */
export interface Connection {
  readonly dialect: Dialect;
  all<Row>(sql: string, ...values: SqlValue[]): Promise<Row[]>;
  /** The first row. */
  get<Row>(sql: string, ...values: SqlValue[]): Promise<Row | undefined>;
  /** @returns how many rows were changed */
  run(sql: string, ...values: SqlValue[]): Promise<number>;
  /** Adds rows of numbers to a table; those that are there already are left as they are. */
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
   * Runs `work` as one transaction: all of it holds afterwards or, if it throws, none. `work` may run again from its
   * start when another process was in its way, so it does nothing but talk to the connection it is given.
   */
  transaction<T>(work: (connection: Connection) => Promise<T>): Promise<T>;
  /** Several statements without values, such as a schema. */
  execute(sql: string): Promise<void>;
  /** Copies the database aside before its schema changes. @returns where to, or undefined where that cannot be done */
  backup(schemaVersion: number): Promise<string | undefined>;
  /** Gives free space back. */
  compact(): Promise<void>;
  close(): Promise<void>;
}

/**
 * Checks values before they are bound.
 * @throws INVALID_PARAMETER_VALUE for a text with a NUL, which neither database can hold
 */
export function checkValues(values: readonly SqlValue[]): void {
  for (const value of values) {
    if (typeof value === "string") checkText(value);
    else if (Array.isArray(value)) checkValues(value);
    // SQLite's binding ends the process on a value it does not know.
    else if (value !== null && typeof value !== "number") throw new TypeError(`a ${typeof value} cannot be stored`);
  }
}

function checkText(text: string): void {
  if (text.includes("\0")) {
    throw invalid(`The value ${JSON.stringify(text.slice(0, 80))} holds a NUL character, which cannot be stored.`);
  }
}

/** Splits a list so that no statement gets more values than a database takes. */
export function* chunks<T>(items: readonly T[], size: number): Generator<T[]> {
  for (let at = 0; at < items.length; at += size) yield items.slice(at, at + size);
}

/** Rows that go into one statement: few enough that its texts can be kept prepared. */
const ROWS = 100;

/** Rows in groups, each with the `(?, ?), (?, ?)` and the values of one INSERT. */
export function* rowsOf(rows: readonly (readonly SqlValue[])[]): Generator<{ marks: string; values: SqlValue[] }> {
  for (const part of chunks(rows, ROWS)) {
    const mark = `(${(part[0] ?? []).map(() => "?").join(", ")})`;
    yield { marks: part.map(() => mark).join(", "), values: part.flat() as SqlValue[] };
  }
}

/** Adds a value to the list of its owner, making the list where it is the first. */
export function push<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const list = map.get(key);
  if (list) list.push(value);
  else map.set(key, [value]);
}

/** The numbers of our ids among some texts. Only what is a number in full can be one: "1 OR 1" must not become 1. */
export const numericIds = (ids: readonly string[]): number[] => ids.filter((id) => /^\d{1,15}$/.test(id)).map(Number);
