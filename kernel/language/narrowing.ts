/**
 * Types that cells narrowed, as the cells after them see them.
 *
 * In a script `if (typeof w !== "string") throw …` holds for all that follows. A cell is a module of its own, so what it
 * narrowed is exported by it as a type, `typeof w` at its end, and the cells after it are given that type: a constant
 * is declared with it; a variable is declared as it was, so that it may be assigned as before, and then asserted to be
 * of that type. The check of a cell tells whether it narrows anything: lines after the cell compare the type of each
 * name that is tested or assigned with its declared one, and complain where they differ.
 */
import type { CellModule, Declared, TypedDeclaration } from "./declarations.ts";
import { type Flow, isWithin, rootOf } from "./flow.ts";

/** Names that a cell uses, with their owners. */
export type Used = ReadonlyMap<string, Declared>;

/** A narrowed type: where it is found, and how many cells have narrowed on top of each other. */
export interface Narrowing {
  module: CellModule;
  depth: number;
}

/** Narrowed references, each a name or a path of members. */
export type Narrowings = ReadonlyMap<string, Narrowing>;

/** What a cell does to a reference: narrows it anew, leaves it as it was, gives it its declared type back. */
export type Effect = "narrowed" | "kept" | "declared";

/** A longer chain of cells that narrow the same reference is let go: each cell of it is a module to keep. */
const deepest = 20;

/** Types that documents of cells use; global declarations. */
export const narrowingTypes = `
declare function __anneal_is<T>(value: unknown): asserts value is T;
type __anneal_Same<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : [B] extends [never] ? true : false;
type __anneal_Base<T> =
  T extends string ? string : T extends number ? number : T extends boolean ? boolean : T extends bigint ? bigint : T;
type __anneal_Check<T extends true> = T;
`;

/** The name of the type that a cell exports of a reference. */
export function narrowedName(reference: string): string {
  return `__anneal_type_${reference.replaceAll(".", "__in__")}`;
}

/** The narrowings of the names that a cell uses. */
export function narrowingsOf(used: Used, all: Narrowings): Map<string, Narrowing> {
  return new Map([...all].filter(([reference]) => used.has(rootOf(reference))));
}

/**
 * Declarations that give a document the variables of other cells.
 * @param from how the document names the module of an owner or a narrowing
 */
export function variablesFrom(used: Used, narrowings: Narrowings, from: (module: CellModule) => string): string {
  const lines = [...used].flatMap(([name, { module, form }]) => {
    if (form === "import") return [];
    const narrowed = form === "const" ? narrowings.get(name) : undefined;
    const type = narrowed ? `${from(narrowed.module)}.${narrowedName(name)}` : `typeof ${from(module)}.${name}`;
    return [`declare ${form} ${name}: ${type};`];
  });
  // A name before its members.
  for (const [reference, { module }] of [...narrowings].sort(([a], [b]) => a.length - b.length)) {
    if (used.get(reference)?.form === "const") continue;
    lines.push(`__anneal_is<${from(module)}.${narrowedName(reference)}>(${reference});`);
  }
  return lines.join("");
}

/** Narrowed variables. A document exports them: then no function of it relies on what they are narrowed to now. */
export function narrowedVariables(used: Used, narrowings: Narrowings): string[] {
  return [...narrowings.keys()].filter((name) => used.get(name)?.form === "let");
}

/** Lines that compare types after a cell, and how to read the complaints about them. */
export interface Probes {
  lines: string[];
  /** @param wrong the numbers of lines that the compiler complains of, with whether it is the comparison that fails */
  effects(wrong: ReadonlyMap<number, boolean>): Map<string, Effect>;
}

const noProbes: Probes = { lines: [], effects: () => new Map() };

/** The comparisons for a cell: of its own variables, and of those of other cells that it uses. */
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
  // Inside of a function that is hoisted nothing is narrowed.
  const declared = references.map((reference, index) => `_${index}: typeof ${reference}`).join("; ");
  const lines = [`function __anneal_declared() { return null as unknown as { ${declared} }; }`];
  const compare = (a: string, b: string) =>
    lines.push(`type __anneal_probe_${lines.length} = __anneal_Check<__anneal_Same<${a}, ${b}>>;`) - 1;
  const places = references.map((reference, index) => {
    const isConstant = formOf(reference) === "const";
    // That a variable of type "a" | "b" was given "a" says little of what it will be when the next cell runs.
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
      for (const { reference, line, isConstant, beforeLine } of places) {
        const differs = wrong.get(line);
        if (differs === true) {
          effects.set(reference, beforeLine !== undefined && !wrong.has(beforeLine) ? "kept" : "narrowed");
        } else if (differs === undefined && !isConstant && (beforeLine !== undefined || flow.assigned.has(reference))) {
          // A constant stays what it was found to be; so does a variable that the cell does not know to be narrowed.
          effects.set(reference, "declared");
        }
      }
      return effects;
    },
  };
}

/** What a cell that runs does to narrowed types. */
export interface NarrowingCell {
  module: CellModule;
  flow: Flow;
  effects: ReadonlyMap<string, Effect>;
  /** Those that its module builds on. */
  builtOn: Narrowings;
}

/**
 * The narrowings for the cells after one.
 * @param reassigned what functions of cells assign to: it may have changed by the time that another cell runs
 */
export function narrowingsAfter(
  before: Narrowings,
  { module, flow, effects, builtOn }: NarrowingCell,
  reassigned: ReadonlySet<string>,
): Map<string, Narrowing> {
  const own = new Set(module.declarations.map(({ name }) => name));
  const isReassigned = (reference: string) => [...reassigned].some((other) => isWithin(reference, other));
  const after = new Map<string, Narrowing>();
  for (const [reference, narrowing] of before) {
    const effect = effects.get(reference);
    const isAssigned = [...flow.assigned].some((other) => isWithin(reference, other));
    const isGone = effect === undefined ? isAssigned : effect === "declared";
    if (!isGone && !own.has(rootOf(reference)) && !isReassigned(reference)) after.set(reference, narrowing);
  }
  for (const [reference, effect] of effects) {
    if (effect !== "narrowed" || isReassigned(reference)) continue;
    const depth = 1 + (own.has(rootOf(reference)) ? 0 : (builtOn.get(reference)?.depth ?? 0));
    if (depth > deepest) after.delete(reference);
    else after.set(reference, { module, depth });
  }
  return after;
}
