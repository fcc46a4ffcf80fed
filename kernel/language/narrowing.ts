/**
 * Type narrowing across cells.
 *
 * In a script, `if (typeof w !== "string") throw …` narrows `w` in all code that follows. As each cell is a separate module,
 * a cell exports `typeof w` at its end as a type, and later cells use that type: a constant is declared with it; a
 * variable keeps its declared type, so that it can be assigned as before, and an assertion narrows it. To find out what a
 * cell narrows, probe lines after the cell compare the type of each tested or assigned reference with its declared type.
 * They cause an error if the types differ.
 */
import type { CellModule, Declared, TypedDeclaration } from "./declarations.ts";
import { type Flow, isWithin, rootOf } from "./flow.ts";

/** Names of other cells that a cell uses. */
export type Used = ReadonlyMap<string, Declared>;

/** A narrowed type: the module that exports it, and the length of the chain of cells that it depends on. */
export interface Narrowing {
  module: CellModule;
  depth: number;
}

/** Narrowed types by reference (a name or a member path). */
export type Narrowings = ReadonlyMap<string, Narrowing>;

/** The effect of a cell on a reference: narrows it, keeps the previous narrowing, or resets it to the declared type. */
export type Effect = "narrowed" | "kept" | "declared";

/** Maximum length of a chain. A longer one is dropped, because the modules of all its cells must be kept. */
const maxDepth = 20;

/** Global declarations that the generated code uses. */
export const narrowingTypes = `
declare function __anneal_is<T>(value: unknown): asserts value is T;
type __anneal_Same<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : [B] extends [never] ? true : false;
type __anneal_Base<T> =
  T extends string ? string : T extends number ? number : T extends boolean ? boolean : T extends bigint ? bigint : T;
type __anneal_Check<T extends true> = T;
`;

/** The name of the type that a cell exports for a reference. */
export function narrowedName(reference: string): string {
  return `__anneal_type_${reference.replaceAll(".", "__in__")}`;
}

/** The narrowings of the names that a cell uses. */
export function narrowingsOf(used: Used, all: Narrowings): Map<string, Narrowing> {
  return new Map([...all].filter(([reference]) => used.has(rootOf(reference))));
}

/**
 * Declarations of the variables of other cells that a document uses.
 * @param from returns the expression for a module in the document
 */
export function variablesFrom(used: Used, narrowings: Narrowings, from: (module: CellModule) => string): string {
  const lines = [...used].flatMap(([name, { module, form }]) => {
    if (form === "import") return [];
    const narrowed = form === "const" ? narrowings.get(name) : undefined;
    const type = narrowed ? `${from(narrowed.module)}.${narrowedName(name)}` : `typeof ${from(module)}.${name}`;
    return [`declare ${form} ${name}: ${type};`];
  });
  // Names come before their members.
  for (const [reference, { module }] of [...narrowings].sort(([a], [b]) => a.length - b.length)) {
    if (used.get(reference)?.form === "const") continue;
    lines.push(`__anneal_is<${from(module)}.${narrowedName(reference)}>(${reference});`);
  }
  return lines.join("");
}

/** The narrowed variables. Documents export them, so that functions do not rely on the narrowed type. */
export function narrowedVariables(used: Used, narrowings: Narrowings): string[] {
  return [...narrowings.keys()].filter((name) => used.get(name)?.form === "let");
}

/** Probe lines that compare types after a cell, and a function that evaluates their errors. */
export interface Probes {
  lines: string[];
  /** @param wrong numbers of the lines with errors; true if the error is a failed comparison */
  effects(wrong: ReadonlyMap<number, boolean>): Map<string, Effect>;
}

const noProbes: Probes = { lines: [], effects: () => new Map() };

/** Creates the probes of a cell, for its own variables and for those of other cells that it uses. */
export function probesFor(
  flow: Flow,
  own: readonly TypedDeclaration[],
  used: Used,
  narrowings: Narrowings,
  from: (module: CellModule) => string,
): Probes {
  const ownForms = new Map(own.map(({ name, form }) => [name, form]));
  const formOf = (name: string) => ownForms.get(name) ?? used.get(name)?.form;
  const references = [...new Set([...flow.tested, ...flow.assigned])].filter((reference) => {
    const form = formOf(rootOf(reference));
    return form === "const" || form === "let";
  });
  if (references.length === 0) return noProbes;
  // In a hoisted function, all references have their declared type.
  const declared = references.map((reference, index) => `_${index}: typeof ${reference}`).join("; ");
  const lines = [`function __anneal_declared() { return null as unknown as { ${declared} }; }`];
  const compare = (a: string, b: string) =>
    lines.push(`type __anneal_probe_${lines.length} = __anneal_Check<__anneal_Same<${a}, ${b}>>;`) - 1;
  const probes = references.map((reference, index) => {
    const isConstant = formOf(reference) === "const";
    // For assigned variables, literal types are widened: after `mode = "train"` another cell may still test `"eval"`.
    const loose = !isConstant && !flow.tested.has(reference);
    const compared = (type: string) => (loose ? `__anneal_Base<${type}>` : type);
    const type = `ReturnType<typeof __anneal_declared>["_${index}"]`;
    const line = compare(compared(type), compared(`typeof ${reference}`));
    const before = isConstant || ownForms.has(rootOf(reference)) ? undefined : narrowings.get(reference);
    const beforeLine = before && compare(`${from(before.module)}.${narrowedName(reference)}`, `typeof ${reference}`);
    return { reference, line, isConstant, beforeLine };
  });
  return {
    lines,
    effects(wrong) {
      const effects = new Map<string, Effect>();
      for (const { reference, line, isConstant, beforeLine } of probes) {
        const differs = wrong.get(line);
        if (differs === true) {
          effects.set(reference, beforeLine !== undefined && !wrong.has(beforeLine) ? "kept" : "narrowed");
        } else if (differs === undefined && !isConstant && (beforeLine !== undefined || flow.assigned.has(reference))) {
          // Only variables are reset, and only if the cell assigned them or was checked with their narrowed type.
          effects.set(reference, "declared");
        }
      }
      return effects;
    },
  };
}

/** A cell and its effects on narrowed types. */
export interface NarrowingCell {
  module: CellModule;
  flow: Flow;
  effects: ReadonlyMap<string, Effect>;
  /** The narrowed types that its module uses. */
  baseNarrowings: Narrowings;
}

/**
 * The narrowed types after a cell.
 * @param reassigned references that functions assign to, which may change at any time and thus are not narrowed
 */
export function narrowingsAfter(
  before: Narrowings,
  { module, flow, effects, baseNarrowings }: NarrowingCell,
  reassigned: ReadonlySet<string>,
): Map<string, Narrowing> {
  const own = new Set(module.declarations.map(({ name }) => name));
  const isReassigned = (reference: string) => [...reassigned].some((other) => isWithin(reference, other));
  const after = new Map<string, Narrowing>();
  for (const [reference, narrowing] of before) {
    const effect = effects.get(reference);
    const isAssigned = [...flow.assigned].some((other) => isWithin(reference, other));
    const isReset = effect === undefined ? isAssigned : effect === "declared";
    if (!isReset && !own.has(rootOf(reference)) && !isReassigned(reference)) after.set(reference, narrowing);
  }
  for (const [reference, effect] of effects) {
    if (effect !== "narrowed" || isReassigned(reference)) continue;
    const depth = 1 + (own.has(rootOf(reference)) ? 0 : (baseNarrowings.get(reference)?.depth ?? 0));
    if (depth > maxDepth) after.delete(reference);
    else after.set(reference, { module, depth });
  }
  return after;
}
