import { invalid } from "../errors.ts";

/*
 * Parses the text of a GraphQL query: operations, fragments, variables, and the directives that skip a field.
 */

export type Variables = Readonly<Record<string, unknown>>;
/** A value in a query, which may contain variables. */
export type Value = (variables: Variables) => unknown;
type Arguments = Readonly<Record<string, Value>>;

interface Directive {
  name: string;
  args: Arguments;
}

export interface Selection {
  /** The name of a field, or of a fragment; of neither for fields in place. */
  field?: string;
  fragment?: string;
  alias?: string;
  args: Arguments;
  directives: Directive[];
  selections?: Selection[];
}

export interface Operation {
  name: string | undefined;
  kind: string;
  defaults: Arguments;
  selections: Selection[];
}

export interface Document {
  operations: Operation[];
  fragments: ReadonlyMap<string, Selection[]>;
}

/** Characters of a query. Those of MLflow's pages have some 2000. */
const MAX_TEXT = 50_000;
/** Brackets within brackets. */
const MAX_DEPTH = 30;

const TOKEN =
  /[\s,\uFEFF]+|#[^\n\r]*|(\.\.\.|[!$()[\]{}:=@]|[_A-Za-z]\w*|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|"(?:[^"\\\n\r]|\\.)*")/y;

function tokensOf(text: string): string[] {
  const tokens: string[] = [];
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < text.length) {
    const at = TOKEN.lastIndex;
    const match = TOKEN.exec(text);
    if (!match) throw invalid(`Syntax Error: Unexpected text '${text.slice(at, at + 20)}'.`);
    if (match[1] !== undefined) tokens.push(match[1]);
  }
  return tokens;
}

const isName = (token: string | undefined): token is string => token !== undefined && /^[_A-Za-z]/.test(token);

class Parser {
  readonly #tokens: string[];
  #at = 0;
  #depth = 0;

  constructor(text: string) {
    this.#tokens = tokensOf(text);
  }

  get #next(): string | undefined {
    return this.#tokens[this.#at];
  }

  #unexpected(): Error {
    const found = this.#next === undefined ? "<EOF>" : `'${this.#next.slice(0, 100)}'`;
    return invalid(`Syntax Error: Unexpected ${found}.`);
  }

  #take(wanted?: string): string {
    const token = this.#next;
    if (token === undefined || (wanted !== undefined && token !== wanted)) throw this.#unexpected();
    this.#at++;
    return token;
  }

  #takes(wanted: string): boolean {
    if (this.#next !== wanted) return false;
    this.#at++;
    return true;
  }

  #name(): string {
    if (!isName(this.#next)) throw this.#unexpected();
    return this.#take();
  }

  /** The items between two brackets. */
  #list<T>(open: string, close: string, item: () => T): T[] {
    this.#take(open);
    if (++this.#depth > MAX_DEPTH) throw invalid(`Query exceeds maximum depth of ${MAX_DEPTH}`);
    const items: T[] = [];
    while (!this.#takes(close)) items.push(item());
    this.#depth--;
    return items;
  }

  document(): Document {
    const operations: Operation[] = [];
    const fragments = new Map<string, Selection[]>();
    while (this.#next !== undefined) {
      if (this.#takes("fragment")) {
        const name = this.#name();
        this.#take("on");
        this.#name();
        this.#directives();
        fragments.set(name, this.#selections());
      } else operations.push(this.#operation());
    }
    return { operations, fragments };
  }

  #operation(): Operation {
    if (this.#next === "{") return { name: undefined, kind: "query", defaults: {}, selections: this.#selections() };
    const kind = this.#name();
    if (kind !== "query" && kind !== "mutation") throw invalid(`Syntax Error: Unexpected '${kind.slice(0, 100)}'.`);
    const name = isName(this.#next) ? this.#name() : undefined;
    const defaults = this.#next === "(" ? this.#list("(", ")", () => this.#variable()).flat() : [];
    this.#directives();
    return { name, kind, defaults: Object.fromEntries(defaults), selections: this.#selections() };
  }

  /** A declared variable: its default, if it has one. */
  #variable(): [string, Value][] {
    this.#take("$");
    const name = this.#name();
    this.#take(":");
    this.#type();
    return this.#takes("=") ? [[name, this.#value()]] : [];
  }

  /** The type of a variable, which is not checked: what the variable is used for is. */
  #type(): void {
    if (this.#next === "[") this.#list("[", "]", () => this.#type());
    else this.#name();
    this.#takes("!");
  }

  #selections(): Selection[] {
    return this.#list("{", "}", () => this.#selection());
  }

  #selection(): Selection {
    if (this.#takes("...")) {
      if (isName(this.#next) && this.#next !== "on") {
        return { fragment: this.#name(), args: {}, directives: this.#directives() };
      }
      if (this.#takes("on")) this.#name();
      return { args: {}, directives: this.#directives(), selections: this.#selections() };
    }
    const first = this.#name();
    const alias = this.#takes(":") ? { alias: first } : {};
    const field = "alias" in alias ? this.#name() : first;
    const [args, directives] = [this.#arguments(), this.#directives()];
    return {
      field,
      ...alias,
      args,
      directives,
      ...(this.#next === "{" ? { selections: this.#selections() } : {}),
    };
  }

  #arguments(): Arguments {
    return this.#next === "(" ? Object.fromEntries(this.#list("(", ")", () => this.#argument())) : {};
  }

  #argument(): [string, Value] {
    const name = this.#name();
    this.#take(":");
    return [name, this.#value()];
  }

  #directives(): Directive[] {
    const directives: Directive[] = [];
    while (this.#takes("@")) directives.push({ name: this.#name(), args: this.#arguments() });
    return directives;
  }

  #value(): Value {
    if (this.#next === "[") {
      const items = this.#list("[", "]", () => this.#value());
      return (variables) => items.map((item) => item(variables));
    }
    if (this.#next === "{") {
      const fields = this.#list("{", "}", () => this.#argument());
      return (variables) => Object.fromEntries(fields.map(([name, value]) => [name, value(variables)]));
    }
    if (this.#takes("$")) {
      const name = this.#name();
      return (variables) => (Object.hasOwn(variables, name) ? variables[name] : null);
    }
    const value = this.#constant();
    return () => value;
  }

  #constant(): unknown {
    const token = this.#next ?? "";
    if (/^[-\d"]/.test(token)) {
      try {
        const value: unknown = JSON.parse(token.replaceAll("\t", "\\t"));
        this.#at++;
        return value;
      } catch {
        throw this.#unexpected();
      }
    }
    const name = this.#name();
    // Another name is a value of an enumeration.
    return name === "null" ? null : name === "true" || name === "false" ? name === "true" : name;
  }
}

/** @throws INVALID_PARAMETER_VALUE if the text is not a query */
export function parseQuery(text: string): Document {
  if (text.length > MAX_TEXT) throw invalid(`The query is longer than ${MAX_TEXT} characters.`);
  return new Parser(text).document();
}
