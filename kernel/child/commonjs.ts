/**
 * What the import of a CommonJS module gives.
 *
 * Node.js finds only those names of such a module that it can read in its text. Types know all of them, and so do
 * bundlers and TypeScript's `esModuleInterop`, whose rules these are.
 */
type Namespace = Record<string, unknown>;

/**
 * A namespace with every name of `module.exports`, as of the time that it is looked at.
 * @param found what Node.js made of the module
 * @param exports its `module.exports`, or the value of a JSON file
 */
export function namespaceOf(found: Namespace, exports: unknown): Namespace {
  if ((typeof exports !== "object" && typeof exports !== "function") || exports === null) return found;
  const names = exports as Namespace;
  const isTranspiled = names.__esModule === true;
  const standard = () => (isTranspiled && "default" in names ? names.default : exports);
  // A module that exports a promise is no promise itself.
  const has = (name: string | symbol) => name in names && (name !== "then" || "then" in found);
  const describe = (name: string | symbol): PropertyDescriptor | undefined => {
    if (name === Symbol.toStringTag) return { value: "Module", configurable: true };
    const own = Object.getOwnPropertyDescriptor(names, name);
    if (name !== "default" && !(own?.enumerable && has(name))) return undefined;
    return { value: name === "default" ? standard() : names[name as string], enumerable: true, configurable: true };
  };
  const target: Namespace = Object.create(null);
  // What is written where the namespace is shown; getters are not called for it.
  for (const name of ["default", Symbol.toStringTag, ...Object.keys(names)]) {
    const own = name === "default" ? undefined : Object.getOwnPropertyDescriptor(names, name);
    const shown = own?.get ? { get: own.get, enumerable: true } : describe(name);
    if (shown) Object.defineProperty(target, name, { ...shown, configurable: true });
  }
  return new Proxy(target, {
    get(_target, name) {
      if (name === "default") return standard();
      if (name === Symbol.toStringTag) return "Module";
      return has(name) ? names[name as string] : undefined;
    },
    has: (_target, name) => name === "default" || has(name),
    ownKeys: () => [...new Set([...Object.keys(names).filter(has), "default"]), Symbol.toStringTag],
    getOwnPropertyDescriptor: (_target, name) => describe(name),
    set: () => false,
    defineProperty: () => false,
    deleteProperty: () => false,
  });
}
