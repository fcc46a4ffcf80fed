import type { Clause, Comparator, Entity, OrderClause } from "../filter.ts";
import type { Search } from "../store.ts";
import type { Connection, Dialect, SqlValue } from "./database.ts";

/** How the clauses of a search are translated to SQL for one table. */
export interface SearchTable {
  /** SQL expression of an attribute. */
  attributes: Readonly<Record<string, string>>;
  /**
   * For keyed data of a row: a sub-select's FROM and WHERE with one `?` for the key, and the value's column.
   * `nan` is the column that marks a NaN, if there is one.
   */
  keyed?: Partial<Record<"metric" | "param" | "tag" | "metadata", { from: string; value: string; nan?: string }>>;
  /** The same for data sets: fields by name instead of a key. */
  dataset?: { from: string; fields: Readonly<Record<string, string>> };
  /** Tags whose absence counts as "not equal". */
  absentIsDifferent?: readonly string[];
}

export interface Sql {
  text: string;
  values: SqlValue[];
}

function comparison(dialect: Dialect, column: string, comparator: Comparator, value: Clause["value"]): Sql {
  if (Array.isArray(value)) return { text: dialect.among(column, comparator === "NOT IN"), values: [value] };
  if (comparator === "LIKE" || comparator === "ILIKE") {
    const { text, pattern } = dialect.like(column, comparator === "ILIKE");
    return { text, values: [pattern(String(value))] };
  }
  // An integer column, such as a time, may be compared with 1.5.
  const bound = typeof value === "number" ? "CAST(? AS DOUBLE PRECISION)" : "?";
  return { text: `${column} ${comparator} ${bound}`, values: [value] };
}

/** NaN is not equal to, above or below any number. */
function numeric(nan: string, comparator: Comparator, { text, values }: Sql): Sql {
  return comparator === "!="
    ? { text: `(${nan} = 1 OR ${text})`, values }
    : { text: `(${nan} = 0 AND ${text})`, values };
}

/** The clauses as conditions, each with AND in front; empty without clauses. */
export function compileFilter(dialect: Dialect, clauses: readonly Clause[], table: SearchTable): Sql {
  let text = "";
  const values: SqlValue[] = [];
  const add = (condition: string, bound: SqlValue[]): void => {
    text += ` AND ${condition}`;
    values.push(...bound);
  };
  for (const clause of clauses) {
    const { entity, key, comparator, value } = clause;
    if (entity === "attribute") {
      const sql = comparison(dialect, column(table, key), comparator, value);
      add(sql.text, sql.values);
      continue;
    }
    if (entity === "dataset") {
      const field = table.dataset?.fields[key];
      if (!table.dataset || !field) throw new Error(`no SQL for dataset.${key}`);
      const sql = comparison(dialect, field, comparator, value);
      add(`EXISTS (SELECT 1 ${table.dataset.from} AND ${sql.text})`, sql.values);
      continue;
    }
    const source = keyed(table, entity);
    const compared = comparison(dialect, source.value, comparator, value);
    const sql = source.nan ? numeric(source.nan, comparator, compared) : compared;
    const exists = `EXISTS (SELECT 1 ${source.from} AND ${sql.text})`;
    if (entity === "tag" && comparator === "!=" && table.absentIsDifferent?.includes(key)) {
      add(`(${exists} OR NOT EXISTS (SELECT 1 ${source.from}))`, [key, ...sql.values, key]);
    } else {
      add(exists, [key, ...sql.values]);
    }
  }
  return { text, values };
}

/**
 * The ORDER BY for the clauses, followed by `otherwise`. Missing values are last in both directions, and NaN is
 * between numbers and missing values.
 */
export function compileOrder(clauses: readonly OrderClause[], table: SearchTable, otherwise: string): Sql {
  const parts: string[] = [];
  const values: SqlValue[] = [];
  for (const { entity, key, ascending } of clauses) {
    const direction = ascending ? "ASC" : "DESC";
    if (entity === "attribute") {
      const expression = column(table, key);
      parts.push(`${expression} IS NULL`, `${expression} ${direction}`);
      continue;
    }
    const source = keyed(table, entity);
    if (source.nan) {
      parts.push(`COALESCE((SELECT MIN(${source.nan}) ${source.from}), 2)`);
      parts.push(`(SELECT MAX(${source.value}) ${source.from} AND ${source.nan} = 0) ${direction}`);
    } else {
      parts.push(
        `(SELECT ${source.value} ${source.from}) IS NULL`,
        `(SELECT ${source.value} ${source.from}) ${direction}`,
      );
    }
    values.push(key, key);
  }
  parts.push(otherwise);
  return { text: `ORDER BY ${parts.join(", ")}`, values };
}

function column(table: SearchTable, key: string): string {
  const expression = table.attributes[key];
  if (expression === undefined) throw new Error(`no SQL for attribute ${key}`);
  return expression;
}

function keyed(
  table: SearchTable,
  entity: Exclude<Entity, "attribute">,
): { from: string; value: string; nan?: string } {
  const source = entity === "dataset" ? undefined : table.keyed?.[entity];
  if (!source) throw new Error(`no SQL for ${entity}s`);
  return source;
}

/**
 * The rows of one page of a search, and whether there are more.
 * @param from the rows to search, up to a first condition: `SELECT … FROM … WHERE …`
 * @param otherwise the default order
 */
export async function findPage<Row>(
  db: Connection,
  table: SearchTable,
  from: Sql,
  otherwise: string,
  { filter, order, offset, limit }: Search,
): Promise<{ rows: Row[]; more: boolean }> {
  const where = compileFilter(db.dialect, filter, table);
  const by = compileOrder(order, table, otherwise);
  const rows = await db.all<Row>(
    `${from.text}${where.text} ${by.text} LIMIT ? OFFSET ?`,
    ...from.values,
    ...where.values,
    ...by.values,
    limit + 1,
    offset,
  );
  return { rows: rows.slice(0, limit), more: rows.length > limit };
}
