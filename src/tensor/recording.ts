import { ShapeError, showShape } from "./operator.ts";
import type { Parameter } from "./parameter.ts";
import type { HostValue, Tensor } from "./tensor.ts";

/** What came of one run of a program. */
export interface ProgramRun {
  /** The program's name, when it was given one. */
  readonly name: string | undefined;
  /** The values that it gives back, by name. */
  readonly outputs: Values;
  /** Those that only listeners get. */
  readonly observed: Values;
  /** What it ran on, in words. */
  readonly device: Readonly<Record<string, string>>;
}

type Values = Readonly<Record<string, HostValue>>;

/** What happens around a graph while it is built: see {@link record}. */
export interface Recording {
  /** New values of parameters, taken all at once after a run. */
  readonly updates: Map<Parameter, Tensor>;
  /** Values that listeners get besides what the program gives back. */
  readonly observed: Map<string, Tensor>;
  /** Called after each run. */
  readonly listeners: ((run: ProgramRun) => void)[];
  /** What the graph was built by and may change, with its value then: another value means another graph. */
  readonly conditions: { readonly read: () => unknown; readonly value: unknown }[];
  /** Called before each run; throws to call it off. */
  readonly guards: (() => void)[];
}

let current: Recording | undefined;

/** Call a function that builds graph, and collect what it assigns on the way. */
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

/** What is being recorded now. */
export function activeRecording(): Recording | undefined {
  return current;
}

/**
 * Give a parameter a new value at the end of each run of the program that is being built.
 * @throws ShapeError outside of a program, or when the value does not fit
 */
export function assign(parameter: Parameter, value: Tensor): void {
  if (!current) throw new ShapeError("assign: works only inside of a program: program(() => assign(...))");
  if (showShape(value.shape) !== showShape(parameter.shape) || value.dtype !== parameter.dtype) {
    throw new ShapeError(
      `assign: ${value.dtype} ${showShape(value.shape)} does not fit ${parameter.title}, which is ${parameter.dtype} ${showShape(parameter.shape)}`,
    );
  }
  current.updates.set(parameter, value);
}

/** Something a graph depends on besides its tensors: when it changes, programs that read it are built again. */
export function readCondition<T>(read: () => T): T {
  const value = read();
  current?.conditions.push({ read, value });
  return value;
}
