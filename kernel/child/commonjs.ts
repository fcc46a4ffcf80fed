/**
 * Module namespaces of CommonJS modules.
 *
 * Node.js exports only the names that it detects in the source of a CommonJS module. Type declarations and bundlers assume
 * all names of `module.exports`, so this module follows the rules of TypeScript's `esModuleInterop`.
 */
type Namespace = Record<string, unknown>;

/**
 * Returns a live namespace with every name of `module.exports`.
 * @param namespace the namespace that Node.js created
 * @param exports its `module.exports`, or the value of a JSON file
 */
export function namespaceOf(namespace: Namespace, exports: unknown): Namespace {
  if ((typeof exports !== "object" && typeof exports !== "function") || exports === null) return namespace;
  const names = exports as Namespace;
  const isTranspiled = names.__esModule === true;
  const defaultExport = () => (isTranspiled && "default" in names ? names.default : exports);
  // A module that exports a promise must not be a thenable itself.
  const has = (name: string | symbol) => name in names && (name !== "then" || "then" in namespace);
  const describe = (name: string | symbol): PropertyDescriptor | undefined => {
    if (name === Symbol.toStringTag) return { value: "Module", configurable: true };
    const own = Object.getOwnPropertyDescriptor(names, name);
    if (name !== "default" && !(own?.enumerable && has(name))) return undefined;
    return {
      value: name === "default" ? defaultExport() : names[name as string],
      enumerable: true,
      configurable: true,
    };
  };
  const target: Namespace = Object.create(null);
  // The target's properties are what `inspect` shows. It must not call getters.
  for (const name of ["default", Symbol.toStringTag, ...Object.keys(names)]) {
    const own = name === "default" ? undefined : Object.getOwnPropertyDescriptor(names, name);
    const descriptor = own?.get ? { get: own.get, enumerable: true } : describe(name);
    if (descriptor) Object.defineProperty(target, name, { ...descriptor, configurable: true });
  }
  return new Proxy(target, {
    get(_target, name) {
      if (name === "default") return defaultExport();
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
