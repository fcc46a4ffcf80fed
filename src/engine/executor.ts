import type { HostValue, TensorData } from "../tensor/index.ts";
import type { Program } from "./program.ts";

/**
 * Runs programs on a device: the interface between tensor programs and a runtime. The engine numbers programs and states,
 * checks inputs, and converts failures to readable errors; an executor compiles, stores values on the device, and runs.
 * Requests are processed in order.
 */
export interface Executor {
  /** Compiles a validated program and stores it under `id`. */
  compile(id: number, program: Program): Promise<void>;
  /** Frees a compiled program. */
  unload(id: number): Promise<void>;
  /**
   * Runs a program once.
   * @param state contains the program's variables, and is updated
   * @param inputs a value for every input of the program
   * @returns the values of its outputs, by name
   */
  run(
    id: number,
    state: number | undefined,
    inputs: Readonly<Record<string, TensorData>>,
  ): Promise<Record<string, TensorData>>;
  /**
   * Creates or replaces variables of a state.
   * @param transfer transfer the arrays' buffers instead of copying them
   */
  write(state: number, values: Readonly<Record<string, HostValue>>, transfer: boolean): Promise<void>;
  /**
   * Reads variables; all of them when `names` is undefined.
   * @param raw return 16-bit floats as their bits (`Uint16Array`) instead of float32
   */
  read(state: number, names: readonly string[] | undefined, raw: boolean): Promise<Record<string, HostValue>>;
  /** Removes variables of a state. */
  remove(state: number, names: readonly string[]): Promise<void>;
  /** Removes a state with all its variables. */
  release(state: number): Promise<void>;
  /** Classifies the message of a failed request, independent of the runtime. */
  classify(message: string): Failure;
  /** Adds a listener for when the executor ends unexpectedly; later requests fail. */
  onEnd(listener: (reason: string) => void): void;
  /** Frees everything. */
  close(): Promise<void>;
}

/** Why a request failed. */
export interface Failure {
  /**
   * "memory": out of memory; "lost": the device and its memory are gone; "unsupported": the device lacks an operator for
   * these dtypes; "other": see the message.
   */
  kind: "memory" | "lost" | "unsupported" | "other";
  /** Size in bytes of the tensor that could not be allocated. */
  requested?: number;
  /** Maximum size in bytes of a tensor on the device. */
  limit?: number;
  /** The unsupported operator. */
  operator?: string;
}
