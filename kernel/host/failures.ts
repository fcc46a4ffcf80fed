/** Errors of the kernel itself, as opposed to errors of a cell's code. */
import type { ShownError } from "./protocol.ts";

function failure(ename: string, evalue: string): ShownError {
  return { ename, evalue, traceback: [`\x1b[1;31m${ename}\x1b[0m: ${evalue}`] };
}

export const interruptedEarly = failure("Interrupted", "the cell was interrupted before it ran");

export function kernelError(error: unknown): ShownError {
  return failure("KernelError", error instanceof Error ? error.message : String(error));
}

/** @param how the exit code or the signal */
export function stateLost(how: string): ShownError {
  const evalue = `the process that ran the cells ended (${how}). All variables are lost; a new process is ready.`;
  return failure("StateLost", evalue);
}
