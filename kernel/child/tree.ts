/** HTML trees for nested values, which expand and collapse without a script. */
import { inspect, types } from "node:util";
import { escapeHtml, hasCustomInspect, type Limits, oneLine, truncationHint } from "./html.ts";

const style =
  ".anneal-tree{font-family:var(--jp-code-font-family,monospace);font-size:var(--jp-code-font-size,13px);line-height:1.5}" +
  ".anneal-tree div div{padding-left:1.2em}.anneal-tree details div>span{display:block;padding-left:1em;white-space:pre-wrap}" +
  ".anneal-tree summary{cursor:pointer}.anneal-tree pre{margin:0;padding-left:1em}" +
  ".anneal-tree b{font-weight:normal;color:var(--jp-mirror-editor-property-color,#05a)}" +
  ".anneal-tree i{font-style:normal;opacity:.65}" +
  ".anneal-tree .s{color:var(--jp-mirror-editor-string-color,#ba2121)}" +
  ".anneal-tree .n{color:var(--jp-mirror-editor-number-color,#080)}" +
  ".anneal-tree .k{color:var(--jp-mirror-editor-keyword-color,#008000)}";

/** Long lists are split into groups of this size. */
const groupSize = 100;

/** A node of a tree: its key, and its value or, for a group, its entries. */
interface Entry {
  key: string;
  value: unknown;
  group?: () => Entry[];
}

/** HTML tree of an object. */
export function treeOf(value: object, limits: Limits): string {
  const { html } = node({ key: "", value }, limits.entries, new Set(), true);
  return `<style>${style}</style><div class="anneal-tree"><div>${html}</div></div>`;
}

/** Whether a value has entries to expand. */
export function isExpandable(value: unknown): value is object {
  if (typeof value !== "object" || value === null || hasCustomInspect(value)) return false;
  return count(value) > 0;
}

/** A rendered subtree and its number of entries. */
interface Subtree {
  html: string;
  used: number;
}

function node({ key, value, group }: Entry, budget: number, ancestors: ReadonlySet<unknown>, open = false): Subtree {
  const name = key === "" ? "" : `<b>${escapeHtml(key)}</b>: `;
  if (ancestors.has(value)) return { html: `<span>${name}<i>[circular]</i></span>`, used: 0 };
  if (!group && !isExpandable(value)) return { html: leaf(name, value), used: 0 };
  const summary = group ? `<b>${escapeHtml(key)}</b>` : name + preview(value as object);
  if (budget < 1) return { html: `<span>${summary} <i>…</i></span>`, used: 0 };
  const entries = group ? group() : entriesOf(value as object);
  const inside = group ? ancestors : new Set(ancestors).add(value);
  const shown = entries.slice(0, budget);
  let used = shown.length;
  let html = types.isNativeError(value) ? `<pre>${escapeHtml(String(value.stack))}</pre>` : "";
  for (const [index, entry] of shown.entries()) {
    // The remaining budget is divided evenly, so that a big first entry leaves room for the others.
    const part = node(entry, Math.ceil((budget - used) / (shown.length - index)), inside);
    html += part.html;
    used += part.used;
  }
  const left = entries.length - shown.length;
  if (left > 0) html += `<span><i>… ${left} more; ${escapeHtml(truncationHint)}</i></span>`;
  return { html: `<details${open ? " open" : ""}><summary>${summary}</summary><div>${html}</div></details>`, used };
}

function leaf(name: string, value: unknown): string {
  const kind = typeof value === "string" ? "s" : ["number", "bigint"].includes(typeof value) ? "n" : "k";
  const text = typeof value === "object" && value !== null ? inspect(value, { depth: 2 }) : oneLine(value, 2000);
  return `<span>${name}<span class="${kind}">${escapeHtml(text)}</span></span>`;
}

/** The number of entries of a value. */
function count(value: object): number {
  if (Array.isArray(value) || isTypedArray(value)) return value.length;
  if (types.isMap(value) || types.isSet(value)) return value.size;
  if (types.isNativeError(value)) return 1;
  if (isAtom(value)) return 0;
  return ownKeys(value).length;
}

type TypedArray = Extract<NodeJS.TypedArray, { length: number }>;

function isTypedArray(value: object): value is TypedArray {
  return types.isTypedArray(value);
}

function isAtom(value: object): boolean {
  return (
    types.isDate(value) ||
    types.isRegExp(value) ||
    types.isPromise(value) ||
    types.isAnyArrayBuffer(value) ||
    types.isBoxedPrimitive(value) ||
    types.isWeakMap(value) ||
    types.isWeakSet(value) ||
    types.isModuleNamespaceObject(value)
  );
}

function ownKeys(value: object): (string | symbol)[] {
  return Reflect.ownKeys(value).filter((key) => Object.getOwnPropertyDescriptor(value, key)?.enumerable);
}

function entriesOf(value: object): Entry[] {
  if (types.isMap(value)) {
    const items = [...value];
    return grouped(items.length, (index) => ({ key: oneLine(items[index]?.[0], 80), value: items[index]?.[1] }));
  }
  if (types.isSet(value) || Array.isArray(value) || isTypedArray(value)) {
    const items: ArrayLike<unknown> = types.isSet(value) ? [...value] : value;
    return grouped(items.length, (index) => ({ key: String(index), value: items[index] }));
  }
  return ownKeys(value).map((key) => {
    const descriptor = Object.getOwnPropertyDescriptor(value, key);
    const name = typeof key === "symbol" ? `[${String(key)}]` : key;
    // Getters are user code and are not called.
    return { key: name, value: descriptor?.get ? new UnreadGetter() : descriptor?.value };
  });
}

class UnreadGetter {
  [inspect.custom](): string {
    return "[Getter]";
  }
}

function grouped(length: number, at: (index: number) => Entry, start = 0): Entry[] {
  if (length <= groupSize) return Array.from({ length }, (_, index) => at(start + index));
  // Nested groups, if one level is not enough.
  let size = groupSize;
  while (length / size > groupSize) size *= groupSize;
  return Array.from({ length: Math.ceil(length / size) }, (_, index) => {
    const from = start + index * size;
    const part = Math.min(size, start + length - from);
    return { key: `[${from} … ${from + part - 1}]`, value: undefined, group: () => grouped(part, at, from) };
  });
}

const previewLength = 80;

/** Formats an object on one line, with its class and size. */
function preview(value: object): string {
  const name = escapeHtml(nameOf(value));
  const items: string[] = [];
  let length = 0;
  const add = (text: string) => {
    items.push(text);
    length += text.length;
    return length < previewLength;
  };
  if (types.isNativeError(value)) return escapeHtml(oneLine(`${value.name}: ${value.message}`).slice(1, -1));
  let total = count(value);
  const [left, right] = Array.isArray(value) || isTypedArray(value) ? "[]" : "{}";
  if (types.isMap(value)) for (const [key, item] of value) if (!add(`${brief(key)} => ${brief(item)}`)) break;
  if (types.isSet(value)) for (const item of value) if (!add(brief(item))) break;
  if (left === "[") {
    for (let index = 0; index < total; index++) if (!add(brief((value as ArrayLike<unknown>)[index]))) break;
  } else if (items.length === 0) {
    total = ownKeys(value).length;
    for (const key of ownKeys(value)) {
      const descriptor = Object.getOwnPropertyDescriptor(value, key);
      if (!add(`${String(key)}: ${descriptor?.get ? "[Getter]" : brief(descriptor?.value)}`)) break;
    }
  }
  const rest = items.length < total ? ", …" : "";
  return `${name}<i>${left}${escapeHtml(items.join(", "))}${rest}${right}</i>`;
}

function brief(value: unknown): string {
  if (isExpandable(value)) {
    const name = nameOf(value).trim();
    return name === "" ? "{…}" : name;
  }
  return oneLine(value, 40);
}

/** The class with its size, such as `Map(3) ` or `Point `; empty for a plain object. */
function nameOf(value: object): string {
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype === Object.prototype) return "";
  if (prototype === null) return "[null prototype] ";
  const definedBy: unknown = (prototype as { constructor?: unknown }).constructor;
  const name = typeof definedBy === "function" && definedBy.name !== "" ? definedBy.name : "Object";
  const sized = Array.isArray(value) || isTypedArray(value) || types.isMap(value) || types.isSet(value);
  return sized ? `${name}(${count(value)}) ` : `${name} `;
}
