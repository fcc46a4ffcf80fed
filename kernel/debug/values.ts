/** Formats values for the debugger, and rewrites expressions so that they can use names of cells. */
import type { Runtime } from "node:inspector";
import { child, children, flag, list, type Node, parse, text } from "../transform/syntax.ts";

/** A variable in the Debug Adapter Protocol. */
export interface Variable {
  name: string;
  value: string;
  type?: string;
  evaluateName: string;
  /** The reference to request its parts with `variables`; 0 if there are none. */
  variablesReference: number;
}

/** The expression for the scope object. */
export const scopeExpression = 'globalThis[Symbol.for("anneal.cell")].scope';

/** Parts of values, which front-ends can request while the child is paused. */
export class References {
  #next = 1;
  readonly #parts = new Map<number, () => Promise<Variable[]>>();

  clear(): void {
    this.#parts.clear();
  }

  add(parts: () => Promise<Variable[]>): number {
    const reference = this.#next++;
    this.#parts.set(reference, parts);
    return reference;
  }

  /** @throws Error for a reference from before the last pause */
  get(reference: number): Promise<Variable[]> {
    const parts = this.#parts.get(reference);
    if (!parts) throw new Error(`variablesReference ${reference} is no longer valid`);
    return parts();
  }
}

/** A short text for a value. */
export function describe(value: Runtime.RemoteObject): string {
  if (value.type === "string") return JSON.stringify(value.value);
  if (value.unserializableValue !== undefined) return value.unserializableValue;
  if (value.type === "undefined") return "undefined";
  if (value.subtype === "null") return "null";
  if (value.type === "object" && value.preview) return preview(value.preview);
  return value.description ?? String(value.value);
}

function preview({ description = "", subtype, properties, entries, overflow }: Runtime.ObjectPreview): string {
  if (subtype === "error" || subtype === "date" || subtype === "regexp") return description;
  const isList = subtype === "array" || subtype === "typedarray";
  const parts = entries
    ? entries.map(({ key, value }) => `${key ? `${previewValue(key)} => ` : ""}${previewValue(value)}`)
    : properties.map(({ name, value = "", type }) => {
        const shown = type === "string" ? JSON.stringify(value) : value;
        return isList ? shown : `${name}: ${shown}`;
      });
  if (overflow) parts.push("…");
  const [open, close] = isList ? ["[", "]"] : ["{", "}"];
  const name = description === "Object" ? "" : `${description} `;
  return `${name}${open}${parts.join(", ")}${close}`;
}

function previewValue({ description = "", type }: Runtime.ObjectPreview): string {
  return type === "string" ? JSON.stringify(description) : description;
}

/** Whether a name was inserted by the kernel or the compiler. */
export function isHidden(name: string): boolean {
  return name.startsWith("__anneal") || /^__(esDecorate|runInitializers|\w+(Resource|Resources))$/.test(name);
}

/**
 * Rewrites an expression so that names of cells refer to the scope object.
 * @param isShared whether a name is declared by a cell and is not a local variable of the frame
 */
export function inScope(expression: string, isShared: (name: string) => boolean): string {
  const identifiers: Node[] = [];
  const visit = (node: Node) => {
    if (node.type === "Identifier") {
      if (isShared(text(node, "name") ?? "")) identifiers.push(node);
      return;
    }
    if (node.type === "MemberExpression" && !flag(node, "computed")) {
      const object = child(node, "object");
      if (object) visit(object);
      return;
    }
    if (node.type === "Property" && !flag(node, "computed")) {
      const value = child(node, "value");
      // `{ a }` cannot become `{ scope.a }`.
      if (value && !flag(node, "shorthand")) visit(value);
      return;
    }
    children(node).forEach(visit);
  };
  const { program, errors } = parse(expression, "js");
  if (errors.length > 0) return expression;
  list(program as unknown as Node, "body").forEach(visit);
  let changed = expression;
  for (const { start, end } of identifiers.sort((a, b) => b.start - a.start)) {
    changed = `${changed.slice(0, start)}${scopeExpression}.${changed.slice(start, end)}${changed.slice(end)}`;
  }
  return changed;
}
