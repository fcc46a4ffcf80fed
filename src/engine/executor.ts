import type { HostValue, TensorData } from "../tensor/index.ts";
import type { Program } from "./program.ts";

/**
 * What runs programs for a device: the seam between a tensor program and the runtime that computes it. The engine
 * numbers programs and states, checks inputs, and turns failures into errors for people; an executor compiles, keeps
 * values on the device, and runs. Requests are served in the order in which they are made.
 */
export interface Executor {
  /** Compile a checked program and keep it under `id`. */
  compile(id: number, program: Program): Promise<void>;
  /** Free a compiled program. */
  unload(id: number): Promise<void>;
  /**
   * Run a program once.
   * @param state holds the program's variables, and takes their new values
   * @param inputs a value for every input of the program
   * @returns the values of its outputs, by name
   */
  run(
    id: number,
    state: number | undefined,
    inputs: Readonly<Record<string, TensorData>>,
  ): Promise<Record<string, TensorData>>;
  /**
   * Create or replace variables of a state.
   * @param transfer the arrays may be taken instead of copied: they are empty afterwards
   */
  write(state: number, values: Readonly<Record<string, HostValue>>, transfer: boolean): Promise<void>;
  /**
   * Copy variables back, all of them when no names are given.
   * @param raw 16-bit floats as their bits (`Uint16Array`) instead of as float32
   */
  read(state: number, names: readonly string[] | undefined, raw: boolean): Promise<Record<string, HostValue>>;
  /** Drop variables of a state. */
  remove(state: number, names: readonly string[]): Promise<void>;
  /** Drop a state with all its variables. */
  release(state: number): Promise<void>;
  /** What a failed request's message says, in terms that do not depend on the runtime. */
  classify(message: string): Failure;
  /** Called when the executor ends by itself: every later request fails. */
  onEnd(listener: (reason: string) => void): void;
  /** Free everything. */
  close(): Promise<void>;
}

/** Why a device could not do what was asked. */
export interface Failure {
  /**
   * "memory": there is not enough of it; "lost": the device is gone, with all that it held; "unsupported": it lacks an
   * operator for these dtypes; "other": the message speaks for itself.
   */
  kind: "memory" | "lost" | "unsupported" | "other";
  /** Bytes of the tensor that memory was asked for. */
  asked?: number;
  /** Bytes of the longest tensor that the device can hold. */
  limit?: number;
  /** The operator that is lacking. */
  operator?: string;
}
