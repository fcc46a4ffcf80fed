import { ShapeError, showShape } from "./operator.ts";
import type { Parameter } from "./parameter.ts";
import type { HostValue, Tensor } from "./tensor.ts";

/** Result of one run of a program. */
export interface ProgramRun {
  /** The program's name, if it has one. */
  readonly name: string | undefined;
  /** The returned values, by name. */
  readonly outputs: Values;
  /** Values for listeners only. */
  readonly observed: Values;
  /** Description of the device. */
  readonly device: Readonly<Record<string, string>>;
}

type Values = Readonly<Record<string, HostValue>>;

/** Side effects of building a graph: see {@link record}. */
export interface Recording {
  /** New values of parameters, assigned together after a run. */
  readonly updates: Map<Parameter, Tensor>;
  /** Values for listeners, in addition to the returned ones. */
  readonly observed: Map<string, Tensor>;
  /** Called after each run. */
  readonly listeners: ((run: ProgramRun) => void)[];
  /** State that the graph depends on, with its value at build time; a different value requires a rebuild. */
  readonly conditions: { readonly read: () => unknown; readonly value: unknown }[];
  /** Called before each run; throws to cancel it. */
  readonly guards: (() => void)[];
}

let current: Recording | undefined;

/** Calls a function that builds a graph, and records its assignments and other side effects. */
export function record<R>(build: () => R): { result: R; recording: Recording } {
  const recording: Recording = { updates: new Map(), observed: new Map(), listeners: [], conditions: [], guards: [] };
  const outer = current;
  current = recording;
  try {
    return { result: build(), recording };
  } finally {
    current = outer;
  }
}

/** Returns the recording of the program that is being built, if any. */
export function activeRecording(): Recording | undefined {
  return current;
}

/**
 * Assigns a parameter at the end of each run of the program that is being built.
 * @throws ShapeError outside a program, or when shape or dtype differ
 */
export function assign(parameter: Parameter, value: Tensor): void {
  if (!current) throw new ShapeError("assign: works only inside a program: program(() => assign(...))");
  if (showShape(value.shape) !== showShape(parameter.shape) || value.dtype !== parameter.dtype) {
    throw new ShapeError(
      `assign: a value of ${value.dtype} ${showShape(value.shape)} does not fit ${parameter.title} of ${parameter.dtype} ${showShape(parameter.shape)}`,
    );
  }
  current.updates.set(parameter, value);
}

/** Reads state that a graph depends on besides its tensors. Programs that read it are rebuilt when it changes. */
export function readCondition<T>(read: () => T): T {
  const value = read();
  current?.conditions.push({ read, value });
  return value;
}
