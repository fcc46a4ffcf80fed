import type { Clause, Comparator, Entity, OrderClause } from "../filter.ts";
import type { SqlValue } from "./database.ts";

/** How the clauses of a search become SQL for one table. */
export interface SearchTable {
  /** SQL expression of an attribute. */
  attributes: Readonly<Record<string, string>>;
  /**
   * For what hangs on a row by key: a sub-select's FROM and WHERE with one `?` for the key, and the value's column.
   * `nan` is the column that marks a NaN, where values can be one.
   */
  keyed?: Partial<Record<"metric" | "param" | "tag", { from: string; value: string; nan?: string }>>;
  /** The same for data sets: fields by name instead of a key. */
  dataset?: { from: string; fields: Readonly<Record<string, string>> };
  /** Tags whose absence counts as "not equal". */
  absentIsDifferent?: readonly string[];
}

export interface Sql {
  text: string;
  values: SqlValue[];
}

/** A LIKE pattern as GLOB, which SQLite matches with regard to case. */
function glob(pattern: string): string {
  return pattern.replace(/[*?[]/g, "[$&]").replace(/%/g, "*").replace(/_/g, "?");
}

function comparison(column: string, comparator: Comparator, value: Clause["value"]): Sql {
  if (Array.isArray(value)) {
    return { text: `${column} ${comparator} (SELECT value FROM json_each(?))`, values: [JSON.stringify(value)] };
  }
  if (comparator === "LIKE") return { text: `${column} GLOB ?`, values: [glob(String(value))] };
  if (comparator === "ILIKE") return { text: `${column} LIKE ?`, values: [String(value)] };
  return { text: `${column} ${comparator} ?`, values: [value] };
}

/** A NaN differs from every number and is neither above nor below any. */
function numeric(column: string, nan: string, comparator: Comparator, value: Clause["value"]): Sql {
  const { text, values } = comparison(column, comparator, value);
  return comparator === "!="
    ? { text: `(${nan} = 1 OR ${text})`, values }
    : { text: `(${nan} = 0 AND ${text})`, values };
}

/** The clauses as one condition, each introduced by AND; empty for no clauses. */
export function compileFilter(clauses: readonly Clause[], table: SearchTable): Sql {
  let text = "";
  const values: SqlValue[] = [];
  const add = (condition: string, bound: SqlValue[]): void => {
    text += ` AND ${condition}`;
    values.push(...bound);
  };
  for (const clause of clauses) {
    const { entity, key, comparator, value } = clause;
    if (entity === "attribute") {
      const sql = comparison(column(table, key), comparator, value);
      add(sql.text, sql.values);
      continue;
    }
    if (entity === "dataset") {
      const field = table.dataset?.fields[key];
      if (!table.dataset || !field) throw new Error(`no SQL for dataset.${key}`);
      const sql = comparison(field, comparator, value);
      add(`EXISTS (SELECT 1 ${table.dataset.from} AND ${sql.text})`, sql.values);
      continue;
    }
    const source = keyed(table, entity);
    const sql = source.nan
      ? numeric(source.value, source.nan, comparator, value)
      : comparison(source.value, comparator, value);
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
 * The ORDER BY for the clauses, ended by `otherwise`. What is missing comes last in either direction;
 * a metric's NaN comes between the numbers and what is missing.
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
