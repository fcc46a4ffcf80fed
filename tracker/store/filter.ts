import { invalid } from "../errors.ts";

/**
 * MLflow's filter language: clauses joined by AND, each `entity.key comparator value`.
 * Keys may be unquoted (letters, digits and `_ . / - : @`), in "double quotes" or in `backticks`. Within quotes, the quote is
 * written twice or after a backslash.
 * A name without an entity is an attribute.
 */

export type Entity =
  | "attribute"
  | "metric"
  | "param"
  | "tag"
  | "dataset"
  | "metadata"
  | "span"
  | "feedback"
  | "expectation"
  /** All text of a trace's spans. */
  | "text";
export type Comparator =
  | "="
  | "!="
  | "<"
  | "<="
  | ">"
  | ">="
  | "LIKE"
  | "ILIKE"
  | "RLIKE"
  | "IN"
  | "NOT IN"
  | "IS NULL"
  | "IS NOT NULL";

/** Data sets by name, and optionally by digest. */
export interface DatasetName {
  name: string;
  digest?: string;
}

export interface Clause {
  entity: Entity;
  key: string;
  comparator: Comparator;
  value: string | number | string[];
  /** Only a logged model's metrics on one of these data sets. */
  datasets?: DatasetName[];
}

export interface OrderClause {
  entity: Entity;
  key: string;
  ascending: boolean;
  /** Only a logged model's metrics on one of these data sets. */
  datasets?: DatasetName[];
}

/** The fields that one kind of object can be searched by. */
export interface SearchDomain {
  /** Used in messages: "runs", "experiments". */
  what: string;
  entities: readonly Entity[];
  /** Attributes by canonical name. `id` is a string that also supports IN and NOT IN. */
  attributes: Readonly<Record<string, "string" | "number" | "id">>;
  /** Other spellings of attributes, in lower case. */
  aliases?: Readonly<Record<string, string>>;
  /** Whether texts can be compared by RLIKE, and `trace.text`, spans and assessments be searched by. */
  traces?: boolean;
  /** Attributes that can be ordered by but not filtered on. */
  orderOnly?: readonly string[];
}

const ENTITIES: ReadonlyMap<string, Entity> = new Map([
  ...["attribute", "attributes", "attr", "run", "trace"].map((word) => [word, "attribute"] as const),
  ...["metric", "metrics"].map((word) => [word, "metric"] as const),
  ...["param", "params", "parameter", "parameters"].map((word) => [word, "param"] as const),
  ...["tag", "tags"].map((word) => [word, "tag"] as const),
  ...["dataset", "datasets"].map((word) => [word, "dataset"] as const),
  ...["metadata", "request_metadata"].map((word) => [word, "metadata"] as const),
  ...(["span", "feedback", "expectation"] as const).map((word) => [word, word] as const),
]);

const DATASET_FIELDS = ["name", "digest", "context"];
const SPAN_FIELDS = ["name", "status", "type", "content"];
const NUMERIC: readonly Comparator[] = ["=", "!=", "<", "<=", ">", ">="];
const TEXTUAL: readonly Comparator[] = ["=", "!=", "LIKE", "ILIKE"];
const SETS: readonly Comparator[] = ["IN", "NOT IN"];
const NULLS: readonly Comparator[] = ["IS NULL", "IS NOT NULL"];
const PATTERNS: readonly Comparator[] = ["LIKE", "ILIKE", "RLIKE"];
/** Entities whose keys an object may lack. */
const OPTIONAL: readonly Entity[] = ["metric", "param", "tag", "metadata", "feedback", "expectation"];

/** Longer filters are refused, to limit the parser's work. */
const MAX_LENGTH = 50_000;
/** Databases limit the joins and values of a statement; this stays well below. */
const MAX_CLAUSES = 60;

type Token =
  | { kind: "name"; text: string; quoted: boolean; at: number }
  | { kind: "string"; text: string; at: number }
  | { kind: "number"; value: number; text: string; at: number }
  | { kind: "operator"; text: string; at: number }
  | { kind: "punctuation"; text: string; at: number };

const NAME = /[\p{L}_][\p{L}\p{N}_./\-:@]*/uy;
const NUMBER = /[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\p{L}_])/uy;
const OPERATOR = /!=|<=|>=|=|<|>/y;
const SPACE = /\s+/uy;

/** Splits a filter into tokens. A name directly followed by a quoted part (`params."a b"`) is one name. */
function tokenize(text: string): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  const match = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at;
    return pattern.exec(text)?.[0];
  };
  /** Returns the position of the closing quote. */
  const closing = (quote: string, withBackslash: boolean): number => {
    for (let end = at + 1; end < text.length; end++) {
      if (withBackslash && text[end] === "\\" && text[end + 1] === quote) end++;
      else if (text[end] === quote && text[end + 1] === quote) end++;
      else if (text[end] === quote) return end;
    }
    return -1;
  };
  const quoted = (quote: string): string => {
    const end = closing(quote, true);
    // A backslash may also be the last character: 'C:\'.
    const plain = end < 0 ? closing(quote, false) : end;
    if (plain < 0) throw invalid(`Invalid filter '${text}': the ${quote} at position ${at + 1} is not closed.`);
    const inside = text.slice(at + 1, plain).replaceAll(quote + quote, quote);
    at = plain + 1;
    return end < 0 ? inside : inside.replaceAll(`\\${quote}`, quote);
  };
  while (at < text.length) {
    const space = match(SPACE);
    if (space !== undefined) {
      at += space.length;
      continue;
    }
    const start = at;
    const char = text.charAt(at);
    const name = match(NAME);
    if (name !== undefined) {
      at += name.length;
      const next = text.charAt(at);
      if (name.endsWith(".") && (next === '"' || next === "`")) {
        tokens.push({ kind: "name", text: name + quoted(next), quoted: true, at: start });
      } else {
        tokens.push({ kind: "name", text: name, quoted: false, at: start });
      }
      continue;
    }
    if (char === "`") {
      tokens.push({ kind: "name", text: quoted(char), quoted: true, at: start });
      continue;
    }
    if (char === "'" || char === '"') {
      tokens.push({ kind: "string", text: quoted(char), at: start });
      continue;
    }
    const number = match(NUMBER);
    if (number !== undefined) {
      at += number.length;
      tokens.push({ kind: "number", value: Number(number), text: number, at: start });
      continue;
    }
    const operator = match(OPERATOR);
    if (operator !== undefined) {
      at += operator.length;
      tokens.push({ kind: "operator", text: operator, at: start });
      continue;
    }
    if (char === "(" || char === ")" || char === ",") {
      at += 1;
      tokens.push({ kind: "punctuation", text: char, at: start });
      continue;
    }
    throw invalid(`Invalid filter '${text}': unexpected '${char}' at position ${at + 1}.`);
  }
  return tokens;
}

/** Splits `metrics.loss` into entity and key, and checks both against the domain. */
function identify(
  name: string,
  quoted: boolean,
  domain: SearchDomain,
  ordering: boolean,
): { entity: Entity; key: string } {
  const dot = name.indexOf(".");
  const prefix = dot < 0 ? undefined : ENTITIES.get(name.slice(0, dot).toLowerCase());
  const entity = prefix ?? "attribute";
  let key = prefix === undefined ? name : name.slice(dot + 1);
  if (prefix === undefined && dot >= 0 && !quoted) {
    throw invalid(
      `Invalid entity type '${name.slice(0, dot)}' in '${name}'. Valid ones: ${domain.entities.map((e) => (e === "attribute" ? "attributes" : `${e}s`)).join(", ")}.`,
    );
  }
  if (!domain.entities.includes(entity)) throw invalid(`${domain.what} cannot be searched by ${entity}s ('${name}').`);
  if (key === "") throw invalid(`Invalid filter: '${name}' has no key after the dot.`);
  if (entity === "attribute" && domain.traces && key === "text" && !ordering) return { entity: "text", key };
  if (entity === "attribute") {
    const alias = key.toLowerCase();
    if (domain.aliases && Object.hasOwn(domain.aliases, alias)) key = domain.aliases[alias] ?? key;
    if (!Object.hasOwn(domain.attributes, key) && !(ordering && domain.orderOnly?.includes(key))) {
      throw invalid(`Invalid attribute key '${key}'. Valid ones: ${Object.keys(domain.attributes).join(", ")}.`);
    }
  }
  if (entity === "span" && !SPAN_FIELDS.includes(key) && !/^attributes\../s.test(key)) {
    throw invalid(
      `Invalid span attribute '${key}'. Supported attributes: name, status, type, attributes.<attribute_name>. All text of a span is its content.`,
    );
  }
  if (entity === "dataset" && !DATASET_FIELDS.includes(key)) {
    throw invalid(`Invalid dataset key '${key}'. Valid ones: ${DATASET_FIELDS.join(", ")}.`);
  }
  return { entity, key };
}

function kindOf(entity: Entity, key: string, domain: SearchDomain): "string" | "number" | "id" | "text" {
  if (entity === "metric") return "number";
  if (entity === "dataset") return "id";
  if (entity === "attribute") return domain.attributes[key] ?? "string";
  if (entity === "span") return key === "content" || key.startsWith("attributes.") ? "text" : "id";
  if (entity === "text") return "text";
  return "string";
}

function comparatorsOf(entity: Entity, kind: ReturnType<typeof kindOf>, domain: SearchDomain): readonly Comparator[] {
  const nulls = OPTIONAL.includes(entity) ? NULLS : [];
  if (kind === "number") return [...NUMERIC, ...nulls];
  if (kind === "text") return PATTERNS;
  return [...TEXTUAL, ...(domain.traces ? (["RLIKE"] as const) : []), ...(kind === "id" ? SETS : []), ...nulls];
}

/**
 * Parses a filter string.
 * @returns its clauses, joined by AND; none for an empty filter
 * @throws INVALID_PARAMETER_VALUE with the error and its position
 */
export function parseFilter(text: string | undefined, domain: SearchDomain): Clause[] {
  if (text === undefined || text.trim() === "") return [];
  if (text.length > MAX_LENGTH) {
    throw invalid(`The filter is ${text.length} characters long; at most ${MAX_LENGTH} are supported.`);
  }
  const tokens = tokenize(text);
  const clauses: Clause[] = [];
  let at = 0;
  const word = (token: Token | undefined): string =>
    token?.kind === "name" && !token.quoted ? token.text.toUpperCase() : "";
  const fail = (expected: string): never => {
    const token = tokens[at];
    const actual = token === undefined ? "the end" : `'${token.text}' at position ${token.at + 1}`;
    throw invalid(`Invalid filter '${text}': expected ${expected}, found ${actual}.`);
  };
  const comparator = (): Comparator => {
    const token = tokens[at];
    if (token?.kind === "operator") {
      at += 1;
      return token.text as Comparator;
    }
    const first = word(token);
    if (first === "LIKE" || first === "ILIKE" || first === "RLIKE" || first === "IN") {
      at += 1;
      return first;
    }
    const then = word(tokens[at + 1]);
    if (first === "IS" && then === "NULL") {
      at += 2;
      return "IS NULL";
    }
    if (first === "IS" && then === "NOT" && word(tokens[at + 2]) === "NULL") {
      at += 3;
      return "IS NOT NULL";
    }
    if (first === "NOT" && word(tokens[at + 1]) === "IN") {
      at += 2;
      return "NOT IN";
    }
    return fail("a comparator (=, !=, <, <=, >, >=, LIKE, ILIKE, RLIKE, IN, NOT IN, IS NULL, IS NOT NULL)");
  };
  const list = (): string[] => {
    const values: string[] = [];
    const punctuation = (char: string): boolean => {
      const token = tokens[at];
      if (token?.kind !== "punctuation" || token.text !== char) return false;
      at += 1;
      return true;
    };
    if (!punctuation("(")) fail("'(' and a list of quoted values");
    do {
      const token = tokens[at];
      if (token?.kind !== "string") return fail("a quoted value");
      values.push(token.text);
      at += 1;
    } while (punctuation(","));
    if (!punctuation(")")) fail("',' or ')'");
    return values;
  };

  for (;;) {
    const token = tokens[at];
    if (token?.kind !== "name") return fail("a name such as metrics.loss");
    at += 1;
    const { entity, key } = identify(token.text, token.quoted, domain, false);
    const op = comparator();
    const kind = kindOf(entity, key, domain);
    const allowed = comparatorsOf(entity, kind, domain);
    if (!allowed.includes(op)) {
      throw invalid(`Invalid comparator '${op}' for ${entity} '${key}'. Valid ones: ${allowed.join(" ")}.`);
    }
    if (NULLS.includes(op)) clauses.push({ entity, key, comparator: op, value: "" });
    else if (op === "IN" || op === "NOT IN") {
      clauses.push({ entity, key, comparator: op, value: list() });
    } else {
      const value = tokens[at];
      if (kind === "number") {
        if (value?.kind !== "number") return fail(`a number to compare ${entity} '${key}' with`);
        clauses.push({ entity, key, comparator: op, value: value.value });
      } else if (entity === "feedback" || entity === "expectation") {
        // An assessment's number or boolean may be written without quotes.
        if (value?.kind !== "string" && value?.kind !== "number" && !/^(TRUE|FALSE)$/.test(word(value))) {
          return fail(`a value to compare ${entity} '${key}' with`);
        }
        const bare = word(value).toLowerCase();
        clauses.push({ entity, key, comparator: op, value: bare === "" ? String(value?.text) : bare });
      } else {
        if (value?.kind !== "string") return fail(`a quoted value to compare ${entity} '${key}' with`);
        clauses.push({ entity, key, comparator: op, value: value.text });
      }
      at += 1;
    }
    if (at === tokens.length) break;
    if (word(tokens[at]) !== "AND") fail("AND or the end (OR is not supported)");
    at += 1;
  }
  if (clauses.length > MAX_CLAUSES) {
    throw invalid(`The filter has ${clauses.length} clauses; at most ${MAX_CLAUSES} are supported.`);
  }
  return clauses;
}

/**
 * Parses `order_by`, whose entries are a name with an optional ASC or DESC.
 * @throws INVALID_PARAMETER_VALUE for an unknown or duplicate field
 */
export function parseOrder(entries: readonly string[] | undefined, domain: SearchDomain): OrderClause[] {
  const clauses: OrderClause[] = [];
  const fields = new Set<string>();
  for (const entry of entries ?? []) {
    const tokens = tokenize(entry);
    const [name, direction] = tokens;
    const word = direction?.kind === "name" ? direction.text.toUpperCase() : undefined;
    if (name?.kind !== "name" || tokens.length > 2 || (direction && word !== "ASC" && word !== "DESC")) {
      throw invalid(
        `Invalid order_by clause '${entry}'. Expected a name such as metrics.loss, then ASC, DESC or nothing.`,
      );
    }
    const { entity, key } = identify(name.text, name.quoted, domain, true);
    if (["dataset", "span", "feedback", "expectation"].includes(entity)) {
      throw invalid(`Invalid order_by clause '${entry}': ${entity}s cannot be ordered.`);
    }
    const id = `${entity}.${key}`;
    if (fields.has(id)) throw invalid(`order_by contains duplicate fields: '${id}'.`);
    fields.add(id);
    clauses.push({ entity, key, ascending: word !== "DESC" });
  }
  if (clauses.length > 10) throw invalid(`order_by has ${clauses.length} entries; at most 10 are supported.`);
  return clauses;
}

export const RUNS: SearchDomain = {
  what: "Runs",
  entities: ["attribute", "metric", "param", "tag", "dataset"],
  attributes: {
    run_id: "id",
    run_name: "string",
    user_id: "string",
    status: "string",
    artifact_uri: "string",
    start_time: "number",
    end_time: "number",
    duration: "number",
  },
  aliases: {
    run_uuid: "run_id",
    id: "run_id",
    name: "run_name",
    "run name": "run_name",
    created: "start_time",
    user: "user_id",
  },
};

export const EXPERIMENTS: SearchDomain = {
  what: "Experiments",
  entities: ["attribute", "tag"],
  attributes: { name: "string", creation_time: "number", last_update_time: "number" },
  orderOnly: ["experiment_id"],
};

export const REGISTERED_MODELS: SearchDomain = {
  what: "Registered models",
  entities: ["attribute", "tag"],
  attributes: { name: "id" },
  aliases: { timestamp: "last_updated_timestamp", last_updated: "last_updated_timestamp" },
  orderOnly: ["last_updated_timestamp", "creation_timestamp"],
};

export const MODEL_VERSIONS: SearchDomain = {
  what: "Model versions",
  entities: ["attribute", "tag"],
  attributes: { name: "id", run_id: "id", source_path: "string", version_number: "number", current_stage: "string" },
  aliases: { version: "version_number", source: "source_path" },
  orderOnly: ["last_updated_timestamp", "creation_timestamp"],
};

export const LOGGED_MODELS: SearchDomain = {
  what: "Logged models",
  entities: ["attribute", "metric", "param", "tag"],
  attributes: {
    model_id: "id",
    name: "string",
    model_type: "string",
    status: "string",
    source_run_id: "id",
    creation_timestamp: "number",
    last_updated_timestamp: "number",
  },
  aliases: { creation_time: "creation_timestamp", last_updated_time: "last_updated_timestamp" },
};

export const EVALUATION_DATASETS: SearchDomain = {
  what: "Evaluation datasets",
  entities: ["attribute", "tag"],
  attributes: {
    dataset_id: "id",
    name: "string",
    created_by: "string",
    last_updated_by: "string",
    created_time: "number",
    last_update_time: "number",
  },
};

export const TRACES: SearchDomain = {
  what: "Traces",
  entities: ["attribute", "tag", "metadata", "span", "feedback", "expectation"],
  traces: true,
  attributes: {
    trace_id: "id",
    client_request_id: "id",
    name: "string",
    status: "string",
    timestamp_ms: "number",
    execution_time_ms: "number",
    end_time_ms: "number",
    run_id: "id",
  },
  aliases: {
    request_id: "trace_id",
    state: "status",
    timestamp: "timestamp_ms",
    request_time: "timestamp_ms",
    execution_time: "execution_time_ms",
    execution_duration: "execution_time_ms",
    end_time: "end_time_ms",
  },
};
