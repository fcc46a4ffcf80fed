import type { Device } from "./device.ts";
import type { Failure } from "./executor.ts";
import { type MemoryNeed, showBytes } from "./memory.ts";

/** Thrown when the device cannot perform an operation: it is out of memory, lost, or lacks an operator. */
export class EngineError extends Error {
  override name = "EngineError";
}

/** The operation that was running when a device failed. */
export interface Attempt {
  /** "the training step, 8 x 512 tokens" */
  what: string;
  /** Estimated memory of the program. */
  need?: MemoryNeed;
}

const advice =
  "Lower perDeviceTrainBatchSize (and raise gradientAccumulationSteps) or maxLength, train an adapter (peftConfig), or set gradientCheckpointing: true (checkpoint() in your own loop).";

/** Converts a runtime's error message to an error that names the operation and suggests a remedy. */
export function explainFailure(message: string, failure: Failure, device: Device, attempt: Attempt): EngineError {
  const name = device.name === "webgpu" ? `The GPU (${device.model})` : "The machine";
  switch (failure.kind) {
    case "lost":
      return new EngineError(
        `${name} was lost during ${attempt.what}: its driver was reset, and the contents of its memory are gone. Load the model again, and resume training from its newest checkpoint with resumeFromCheckpoint: true. (${firstLine(message)})`,
      );
    case "memory":
      return new EngineError(
        `${name} ran out of memory in ${attempt.what}${describeRequest(failure, attempt)}. ${advice}`,
      );
    case "unsupported":
      return new EngineError(
        `${device.name} does not support ${failure.operator} for the given dtype, in ${attempt.what}: cast to float32 or float16 before it. (Few devices compute in bfloat16, and no CPU does.)`,
      );
    default:
      return new EngineError(message.trim());
  }
}

/** Rejects a program that cannot fit, before the system kills the process. */
export function checkFits(need: MemoryNeed, limit: number, what: string): void {
  if (need.variables + need.workspace <= limit) return;
  throw new EngineError(
    `There is not enough memory for ${what}: it needs about ${describeNeed(need)}, but this process may use only ${showBytes(limit)}. ${advice}`,
  );
}

function describeRequest({ requested, limit }: Failure, { need }: Attempt): string {
  const parts = [
    requested && `a tensor of ${showBytes(requested)} was requested`,
    limit && `the device's maximum is ${showBytes(limit)}`,
    need && `the program needs about ${describeNeed(need)}`,
  ].filter(Boolean);
  return parts.length > 0 ? `: ${parts.join("; ")}` : "";
}

const describeNeed = ({ variables, workspace }: MemoryNeed) =>
  `${showBytes(variables + workspace)} (${showBytes(variables)} of variables, ${showBytes(workspace)} of intermediate results)`;

const firstLine = (text: string) => text.trim().split("\n")[0];
