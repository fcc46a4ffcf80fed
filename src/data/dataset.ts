import { createHash } from "node:crypto";
import { Random } from "../tensor/index.ts";

/** A row of data: column names and values. */
export type Row = Readonly<Record<string, unknown>>;

/** Thrown when data cannot be read or used. */
export class DataError extends Error {
  override name = "DataError";
}

/** Options of {@link Dataset.split}. */
export interface SplitOptions {
  /** Default 42. */
  seed?: number;
  /**
   * Returns the keys of a row. Rows that share a key, directly or through other rows, stay in the same part, so that test
   * data is not trained on. By default the key is the whole row, which keeps copies together.
   */
  groupBy?: (row: Row) => readonly string[];
}

/**
 * Rows with a name and a digest. Immutable: every operation returns a new data set.
 *
 * @example
 * const data = Dataset.from("faq", rows);
 * const { train, test } = data.split({ train: 0.9, test: 0.1 }, { groupBy: (row) => [String(row.answer)] });
 */
export class Dataset<R extends Row = Row> {
  readonly name: string;
  readonly rows: readonly R[];
  /** Number of rows of the source that were skipped because they could not be read. */
  readonly skipped: number;
  #digest: string | undefined;

  private constructor(name: string, rows: readonly R[], skipped: number) {
    this.name = name;
    this.rows = rows;
    this.skipped = skipped;
  }

  /** @throws DataError when there are no rows */
  static from<R extends Row>(name: string, rows: readonly R[], skipped = 0): Dataset<R> {
    if (rows.length === 0) throw new DataError(`The data set ${name} is empty.`);
    return new Dataset(name, rows, skipped);
  }

  get length(): number {
    return this.rows.length;
  }

  /** SHA-256 over the rows in order. */
  get digest(): string {
    if (this.#digest === undefined) {
      const hash = createHash("sha256");
      for (const row of this.rows) hash.update(`${JSON.stringify(row)}\n`);
      this.#digest = hash.digest("hex");
    }
    return this.#digest;
  }

  filter(keep: (row: R) => boolean, name = this.name): Dataset<R> {
    return Dataset.from(name, this.rows.filter(keep), this.skipped);
  }

  map<S extends Row>(change: (row: R) => S, name = this.name): Dataset<S> {
    return Dataset.from(name, this.rows.map(change), this.skipped);
  }

  /** Returns the first `n` rows. */
  take(n: number): Dataset<R> {
    return Dataset.from(this.name, this.rows.slice(0, n), this.skipped);
  }

  /** Shuffles the rows; the order depends only on the seed. */
  shuffle(seed = 42): Dataset<R> {
    const order = new Random(seed, "shuffle").permutation(this.rows.length);
    return Dataset.from(
      this.name,
      Array.from(order, (i) => this.rows[i]),
      this.skipped,
    );
  }

  /**
   * Splits the rows into named parts with sizes proportional to `shares`, which need not add up to 1. Groups stay together,
   * so the sizes are approximate.
   * @throws DataError when a part would be empty
   */
  split<K extends string>(shares: Readonly<Record<K, number>>, options: SplitOptions = {}): Record<K, Dataset<R>> {
    const { seed = 42, groupBy = (row) => [JSON.stringify(row)] } = options;
    const names = Object.keys(shares) as K[];
    const total = names.reduce((sum, name) => sum + shares[name], 0);
    if (!(total > 0) || names.some((name) => !(shares[name] > 0))) {
      throw new DataError(`split: every share must be above 0, got ${JSON.stringify(shares)}`);
    }
    const groups = connected(this.rows.map(groupBy));
    const order = new Random(seed, "split").permutation(groups.length);
    const parts = new Map<K, number[]>(names.map((name) => [name, []]));
    const room = (name: K) => (shares[name] / total) * this.rows.length - (parts.get(name)?.length ?? 0);
    for (const g of order) {
      const name = names.reduce((best, candidate) => (room(candidate) > room(best) ? candidate : best));
      const part = parts.get(name);
      for (const i of groups[g]) part?.push(i);
    }
    return Object.fromEntries(
      names.map((name) => {
        const rows = (parts.get(name) ?? []).sort((a, b) => a - b).map((i) => this.rows[i]);
        if (rows.length === 0) {
          throw new DataError(
            `split: ${name} would be empty: ${this.rows.length} rows in ${groups.length} groups are too few.`,
          );
        }
        return [name, Dataset.from(`${this.name}/${name}`, rows)];
      }),
    ) as unknown as Record<K, Dataset<R>>;
  }

  [Symbol.for("nodejs.util.inspect.custom")](): string {
    const columns = Object.keys(this.rows[0]).join(", ");
    const skipped = this.skipped > 0 ? `, ${this.skipped} lines skipped` : "";
    return `Dataset ${this.name}: ${this.rows.length} rows (${columns})${skipped}, sha256 ${this.digest.slice(0, 12)}…`;
  }
}

/** Groups the indices of rows that share keys, ordered by first occurrence. */
function connected(keysOfRows: readonly (readonly string[])[]): number[][] {
  const parent = keysOfRows.map((_, i) => i);
  const find = (i: number): number => {
    let root = i;
    while (parent[root] !== root) root = parent[root];
    for (let at = i; parent[at] !== root; ) [parent[at], at] = [root, parent[at]];
    return root;
  };
  const first = new Map<string, number>();
  keysOfRows.forEach((keys, i) => {
    for (const key of keys) {
      const other = first.get(key);
      if (other === undefined) first.set(key, i);
      else parent[find(i)] = find(other);
    }
  });
  const groups = new Map<number, number[]>();
  keysOfRows.forEach((_, i) => {
    const root = find(i);
    const group = groups.get(root);
    if (group) group.push(i);
    else groups.set(root, [i]);
  });
  return [...groups.values()];
}
