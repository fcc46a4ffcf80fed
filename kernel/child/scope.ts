/** The object whose properties are the top-level names of all cells. */
import type { Declaration } from "../host/protocol.ts";

// What is no name of a cell is looked up here: a global, or an error like JavaScript's own. A proxy far up the chain
// costs nothing for names that exist.
const beyond = new Proxy(Object.create(null), {
  get(_target, name) {
    if (typeof name === "symbol") return undefined;
    if (name in globalThis) return (globalThis as Record<string, unknown>)[name];
    throw new ReferenceError(`${name} is not defined`);
  },
});

/** Top-level names of the cells, with their values. */
export const scope: Record<string, unknown> = Object.create(beyond);

/** Forgets all names that cells declared; what the kernel gave them stays. */
export function resetScope(): void {
  for (const name of Object.keys(scope)) delete scope[name];
}

/** As {@link scope}, but a name that does not exist is undefined: for `typeof`. */
export const peek: Record<string, unknown> = new Proxy(Object.create(null), {
  get(_target, name) {
    if (typeof name === "symbol") return undefined;
    return Object.hasOwn(scope, name) ? scope[name] : (globalThis as Record<string, unknown>)[name];
  },
});

/** Called where a cell assigns to a constant. */
export function constant(name: string): never {
  throw new TypeError(`Assignment to constant variable: ${name} was declared with const`);
}

type Descriptors = ReadonlyMap<string, PropertyDescriptor | undefined>;

/**
 * Readies the names that a cell will declare: what an import bound before becomes an ordinary name.
 * @returns how they were, for {@link boundSince}
 */
export function prepareNames(declared: readonly Declaration[]): Descriptors {
  const before = new Map<string, PropertyDescriptor | undefined>();
  for (const { name } of declared) {
    const descriptor = Object.getOwnPropertyDescriptor(scope, name);
    before.set(name, descriptor);
    if (descriptor?.get) {
      Object.defineProperty(scope, name, { value: undefined, writable: true, enumerable: true, configurable: true });
    }
  }
  return before;
}

/** Those names that have another value than before. */
export function boundSince(before: Descriptors): string[] {
  const bound: string[] = [];
  for (const [name, was] of before) {
    const is = Object.getOwnPropertyDescriptor(scope, name);
    if (is && (!was || is.value !== was.value || is.get !== was.get)) bound.push(name);
  }
  return bound;
}
