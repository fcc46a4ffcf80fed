import { invalid } from "../../errors.ts";
import type { Clause, Comparator, Entity, OrderClause } from "../filter.ts";
import { parseRegex } from "../regex.ts";
import type { Position, Search } from "../store.ts";
import type { Connection, Dialect, SqlValue } from "./database.ts";

/** Keyed data of a row: a sub-select's FROM and WHERE with one `?` for the key, and the value's column. */
interface Keyed {
  from: string;
  value: string;
  /** The column that marks a NaN, if there is one. */
  nan?: string;
}

/** Objects of a row that are stored as JSON: a sub-select's FROM and WHERE, and the column. */
interface Stored {
  from: string;
  json: string;
}

/** How the clauses of a search are translated to SQL for one table. */
export interface SearchTable {
  /** SQL expression of an attribute. */
  attributes: Readonly<Record<string, string>>;
  /** Attributes that may be null. */
  nullable?: readonly string[];
  keyed?: Partial<Record<"metric" | "param" | "tag" | "metadata", Keyed>>;
  /** The same for data sets: fields by name instead of a key. */
  dataset?: { from: string; fields: Readonly<Record<string, string>> };
  spans?: Stored;
  assessments?: Stored;
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
  if (comparator === "RLIKE") return dialect.matches(column, parseRegex(String(value)));
  if (comparator === "IS NULL" || comparator === "IS NOT NULL") return { text: `${column} ${comparator}`, values: [] };
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

/** The condition that a row has data that meets `sql`; for IS NULL, that it has none. */
const having = (from: string, comparator: Comparator, { text, values }: Sql, key: SqlValue[] = []): Sql => {
  if (comparator === "IS NULL") return { text: `NOT EXISTS (SELECT 1 ${from})`, values: key };
  if (comparator === "IS NOT NULL") return { text: `EXISTS (SELECT 1 ${from})`, values: key };
  return { text: `EXISTS (SELECT 1 ${from} AND ${text})`, values: [...key, ...values] };
};

/** A condition on one span. */
function spanCondition(dialect: Dialect, json: string, { key, comparator, value }: Clause): Sql {
  if (key === "content") return comparison(dialect, json, comparator, value);
  if (key === "name") return comparison(dialect, dialect.jsonText(json, ["name"]), comparator, value);
  if (key === "status") {
    const status = `CASE WHEN ${dialect.jsonText(json, ["failed"])} = 'true' THEN 'ERROR' ELSE 'OK' END`;
    return comparison(dialect, status, comparator, value);
  }
  const name = key === "type" ? "mlflow.spanType" : key.slice("attributes.".length);
  const { text, values } = comparison(dialect, dialect.jsonMember(json, "attributes"), comparator, value);
  return { text, values: [name, ...values] };
}

/** Conditions on spans, which one span must meet together. */
function spansCondition(dialect: Dialect, { spans }: SearchTable, clauses: readonly Clause[]): Sql {
  if (!spans) throw new Error("no SQL for spans");
  const all = clauses.map((clause) => spanCondition(dialect, spans.json, clause));
  return {
    text: `EXISTS (SELECT 1 ${spans.from} AND ${all.map(({ text }) => text).join(" AND ")})`,
    values: all.flatMap(({ values }) => values),
  };
}

/** A condition on a feedback or expectation by its name. */
function assessmentCondition(dialect: Dialect, { assessments }: SearchTable, clause: Clause): Sql {
  if (!assessments) throw new Error("no SQL for assessments");
  const { entity, key, comparator, value } = clause;
  const { from, json } = assessments;
  const text = (...path: string[]): string => dialect.jsonText(json, path);
  const named = `${from} AND ${text("assessment_name")} = ? AND ${text(entity)} IS NOT NULL`;
  // Values that are no texts, numbers or booleans have the field of an expectation that holds JSON.
  const said =
    entity === "feedback"
      ? text(entity, "value")
      : `COALESCE(${text(entity, "value")}, ${text(entity, "serialized_value", "value")})`;
  return having(named, comparator, comparison(dialect, said, comparator, value), [key]);
}

function condition(dialect: Dialect, clause: Clause, table: SearchTable): Sql {
  const { entity, key, comparator, value } = clause;
  if (entity === "attribute") return comparison(dialect, column(table, key), comparator, value);
  if (entity === "feedback" || entity === "expectation") return assessmentCondition(dialect, table, clause);
  if (entity === "text") return spansCondition(dialect, table, [{ ...clause, key: "content" }]);
  if (entity === "dataset") {
    const field = table.dataset?.fields[key];
    if (!table.dataset || !field) throw new Error(`no SQL for dataset.${key}`);
    return having(table.dataset.from, comparator, comparison(dialect, field, comparator, value));
  }
  const source = keyed(table, entity);
  const from = `${source.from}${datasetText(clause)}`;
  const bound = [key, ...datasetValues(clause)];
  const compared = comparison(dialect, source.value, comparator, value);
  const sql = source.nan && typeof value === "number" ? numeric(source.nan, comparator, compared) : compared;
  const has = having(from, comparator, sql, bound);
  if (entity === "tag" && comparator === "!=" && table.absentIsDifferent?.includes(key)) {
    const lacks = having(from, "IS NULL", sql, bound);
    return { text: `(${has.text} OR ${lacks.text})`, values: [...has.values, ...lacks.values] };
  }
  return has;
}

/** The restriction of a metric to data sets. */
const datasetText = ({ datasets = [] }: Pick<Clause, "datasets">): string =>
  datasets.length === 0
    ? ""
    : ` AND (${datasets.map(({ digest }) => (digest === undefined ? "x.dataset_name = ?" : "(x.dataset_name = ? AND x.dataset_digest = ?)")).join(" OR ")})`;
const datasetValues = ({ datasets = [] }: Pick<Clause, "datasets">): string[] =>
  datasets.flatMap(({ name, digest }) => (digest === undefined ? [name] : [name, digest]));

/** The clauses as conditions, each with AND in front; empty without clauses. */
export function compileFilter(dialect: Dialect, clauses: readonly Clause[], table: SearchTable): Sql {
  const spans = clauses.filter(({ entity }) => entity === "span");
  const all = clauses.filter(({ entity }) => entity !== "span").map((clause) => condition(dialect, clause, table));
  if (spans.length > 0) all.push(spansCondition(dialect, table, spans));
  return { text: all.map(({ text }) => ` AND ${text}`).join(""), values: all.flatMap(({ values }) => values) };
}

/** A part of an order: an expression, whose values sort rows. */
export interface OrderPart {
  expression: string;
  values?: SqlValue[];
  descending?: boolean;
}

/**
 * The parts of an order, followed by `otherwise`, which must end with a unique column. Missing values are last in both
 * directions, and NaN is between numbers and missing values.
 */
export function orderParts(
  clauses: readonly OrderClause[],
  table: SearchTable,
  otherwise: readonly OrderPart[],
): OrderPart[] {
  const parts: OrderPart[] = [];
  const isMissing = (expression: string) => `CASE WHEN ${expression} IS NULL THEN 1 ELSE 0 END`;
  for (const clause of clauses) {
    const { entity, key } = clause;
    const descending = !clause.ascending;
    if (entity === "attribute") {
      const expression = column(table, key);
      if (table.nullable?.includes(key)) parts.push({ expression: isMissing(expression) });
      parts.push({ expression, descending });
      continue;
    }
    const source = keyed(table, entity);
    const from = `${source.from}${datasetText(clause)}`;
    const values = [key, ...datasetValues(clause)];
    if (source.nan) {
      parts.push({ expression: `COALESCE((SELECT MIN(${source.nan}) ${from}), 2)`, values });
      parts.push({ expression: `(SELECT MAX(${source.value}) ${from} AND ${source.nan} = 0)`, values, descending });
    } else {
      const expression = `(SELECT ${source.value} ${from})`;
      parts.push({ expression: isMissing(expression), values }, { expression, values, descending });
    }
  }
  return [...parts, ...otherwise];
}

const sortName = (index: number): string => `sort_${index}`;

/** The parts as columns of a SELECT, for ORDER BY and {@link positionOf}. */
export const sortColumns = (parts: readonly OrderPart[]): Sql => ({
  text: parts.map(({ expression }, index) => `${expression} AS ${sortName(index)}`).join(", "),
  values: parts.flatMap(({ values = [] }) => values),
});

export const orderBy = (parts: readonly OrderPart[]): string =>
  `ORDER BY ${parts.map(({ descending }, index) => `${sortName(index)} ${descending ? "DESC" : "ASC"}`).join(", ")}`;

/** The position of a row in the order that its `sortColumns` are of. */
export const positionOf = (row: object, parts: readonly OrderPart[]): Position =>
  parts.map((_, index) => Reflect.get(row, sortName(index)) as Position[number]);

/**
 * The condition, with AND in front, that a row comes after a position. Unlike an offset, it holds while other rows come and
 * go.
 * @throws INVALID_PARAMETER_VALUE if the position is of another order
 */
export function compileAfter(parts: readonly OrderPart[], position: Position): Sql {
  if (position.length !== parts.length) throw invalid("Invalid page_token: it is of a search with another order_by.");
  const options: Sql[] = [];
  const equal: Sql = { text: "", values: [] };
  parts.forEach(({ expression, values = [], descending }, index) => {
    const value = position[index] ?? null;
    // Where values can be missing, a part before tells them apart, so that all that follow here are missing, too.
    if (value === null) {
      equal.text += `${expression} IS NULL AND `;
      equal.values.push(...values);
      return;
    }
    const after = `${expression} ${descending ? "<" : ">"} ?`;
    options.push({ text: `${equal.text}${after}`, values: [...equal.values, ...values, value] });
    equal.text += `${expression} = ? AND `;
    equal.values.push(...values, value);
  });
  if (options.length === 0) throw invalid("Invalid page_token: use the next_page_token of the previous response.");
  const any = { text: options.map(({ text }) => `(${text})`).join(" OR "), values: options.flatMap((it) => it.values) };
  const [first] = parts;
  const value = position[0] ?? null;
  // The same for the first part alone, which lets an index begin there.
  if (first && value !== null && !first.values) {
    const from = `${first.expression} ${first.descending ? "<=" : ">="} ?`;
    return { text: ` AND ${from} AND (${any.text})`, values: [value, ...any.values] };
  }
  return { text: ` AND (${any.text})`, values: any.values };
}

function column(table: SearchTable, key: string): string {
  const expression = table.attributes[key];
  if (expression === undefined) throw new Error(`no SQL for attribute ${key}`);
  return expression;
}

function keyed(table: SearchTable, entity: Entity): Keyed {
  const known = entity === "metric" || entity === "param" || entity === "tag" || entity === "metadata";
  const source = known ? table.keyed?.[entity] : undefined;
  if (!source) throw new Error(`no SQL for ${entity}s`);
  return source;
}

export interface FoundPage<Row> {
  rows: Row[];
  /** The position of the last row, if others follow. */
  next?: Position;
}

/** The first `limit` of some rows; one more tells that others follow. */
export function pageOf<Row extends object>(
  rows: readonly Row[],
  limit: number,
  position: (row: Row) => Position,
): FoundPage<Row> {
  const page = rows.slice(0, limit);
  const last = page.at(-1);
  return { rows: page, ...(rows.length > limit && last ? { next: position(last) } : {}) };
}

/**
 * The rows of one page of a search.
 * @param columns what to select of each row
 * @param from the rows to search, up to a first condition: `FROM … WHERE …`
 * @param otherwise the default order, which ends with a unique column
 */
export async function findPage<Row extends object>(
  db: Connection,
  table: SearchTable,
  columns: string,
  from: Sql,
  otherwise: readonly OrderPart[],
  { filter, order, offset = 0, after, limit }: Search,
): Promise<FoundPage<Row>> {
  const where = compileFilter(db.dialect, filter, table);
  const parts = orderParts(order, table, otherwise);
  const sort = sortColumns(parts);
  const start = after ? compileAfter(parts, after) : { text: "", values: [] };
  const rows = await db.all<Row>(
    `SELECT ${columns}, ${sort.text} ${from.text}${where.text}${start.text} ${orderBy(parts)} LIMIT ? OFFSET ?`,
    ...sort.values,
    ...from.values,
    ...where.values,
    ...start.values,
    limit + 1,
    offset,
  );
  return pageOf(rows, limit, (row) => positionOf(row, parts));
}
