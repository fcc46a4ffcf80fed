import type { Device } from "./device.ts";
import type { Failure } from "./executor.ts";
import { type MemoryNeed, showBytes } from "./memory.ts";

/** The device could not do what was asked: out of memory, lost, or an operation it lacks. */
export class EngineError extends Error {
  override name = "EngineError";
}

/** What was under way when a device failed. */
export interface Attempt {
  /** "the training step, 8 x 512 tokens" */
  what: string;
  /** What the program holds at most, about. */
  need?: MemoryNeed;
}

const advice =
  "Lower perDeviceTrainBatchSize (gradientAccumulationSteps makes up for it) or maxLength, train an adapter (peftConfig), or set gradientCheckpointing: true (checkpoint() in a loop of your own).";

/** A runtime's complaint as an error that says what was asked and what to turn down. */
export function explainFailure(message: string, failure: Failure, device: Device, attempt: Attempt): EngineError {
  const name = device.name === "webgpu" ? `The GPU (${device.model})` : "The machine";
  switch (failure.kind) {
    case "lost":
      return new EngineError(
        `${name} was lost while it ran ${attempt.what}: its driver was reset, and what lay in its memory is gone. Load the model again; training goes on from its newest checkpoint with resumeFromCheckpoint: true. (${firstLine(message)})`,
      );
    case "memory":
      return new EngineError(`${name} ran out of memory in ${attempt.what}${askedFor(failure, attempt)}. ${advice}`);
    case "unsupported":
      return new EngineError(
        `${device.name} has no ${failure.operator} for the dtype that it is given in ${attempt.what}: cast to float32 or float16 before. (bfloat16 is computed by few devices, and by no CPU.)`,
      );
    default:
      return new EngineError(message.trim());
  }
}

/** A program that cannot fit is refused before the system ends the whole process for it. */
export function checkFits(need: MemoryNeed, limit: number, what: string): void {
  if (need.variables + need.workspace <= limit) return;
  throw new EngineError(
    `There is not enough memory for ${what}: it needs about ${describeNeed(need)}, and this process may use ${showBytes(limit)}. ${advice}`,
  );
}

function askedFor({ asked, limit }: Failure, { need }: Attempt): string {
  const parts = [
    asked && `a tensor of ${showBytes(asked)} was asked for`,
    limit && `the device's longest is ${showBytes(limit)}`,
    need && `the whole needs about ${describeNeed(need)}`,
  ].filter(Boolean);
  return parts.length > 0 ? `: ${parts.join("; ")}` : "";
}

const describeNeed = ({ variables, workspace }: MemoryNeed) =>
  `${showBytes(variables + workspace)} (${showBytes(variables)} of variables, ${showBytes(workspace)} of results on the way)`;

const firstLine = (text: string) => text.trim().split("\n")[0];
