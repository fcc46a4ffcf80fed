/** The scope object, whose properties are the top-level variables of all cells. */
import type { Declaration } from "../host/protocol.ts";

// Looks up names that no cell declares: globals, or else a ReferenceError. As the end of the prototype chain, the proxy does
// not slow down access to declared names.
const undeclared = new Proxy(Object.create(null), {
  get(_target, name) {
    if (typeof name === "symbol") return undefined;
    if (name in globalThis) return (globalThis as Record<string, unknown>)[name];
    throw new ReferenceError(`${name} is not defined`);
  },
});

/** The top-level variables of the cells. */
export const scope: Record<string, unknown> = Object.create(undeclared);

/** Deletes all variables of cells. Names that the kernel defines are not enumerable and stay. */
export function resetScope(): void {
  for (const name of Object.keys(scope)) delete scope[name];
}

/** Like {@link scope}, but undeclared names are undefined. Used for `typeof`. */
export const peek: Record<string, unknown> = new Proxy(Object.create(null), {
  get(_target, name) {
    if (typeof name === "symbol") return undefined;
    return Object.hasOwn(scope, name) ? scope[name] : (globalThis as Record<string, unknown>)[name];
  },
});

/** Called where a cell assigns to a `const`. */
export function constant(name: string): never {
  throw new TypeError(`Assignment to constant variable: ${name} was declared with const`);
}

type Descriptors = ReadonlyMap<string, PropertyDescriptor | undefined>;

/**
 * Prepares the names that a cell declares: bindings of earlier imports become ordinary properties.
 * @returns the previous property descriptors, for {@link initializedSince}
 */
export function prepareDeclarations(declared: readonly Declaration[]): Descriptors {
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

/** The names whose value has changed since {@link prepareDeclarations}. */
export function initializedSince(before: Descriptors): string[] {
  const names: string[] = [];
  for (const [name, old] of before) {
    const now = Object.getOwnPropertyDescriptor(scope, name);
    if (now && (!old || now.value !== old.value || now.get !== old.get)) names.push(name);
  }
  return names;
}
