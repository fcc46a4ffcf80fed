import type { Device } from "./device.ts";
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
  'Lower perDeviceBatchSize (gradientAccumulationSteps makes up for it) or maxSeqLength, train with method "lora", or set gradientCheckpointing: true (checkpoint() in a loop of your own).';

const memoryWords =
  /failed to allocate|out.?of.?memory|bad_alloc|max buffer size|Array buffer allocation|narrowing_error/i;
const lostWords = /device (was |is )?lost|DEVICE_LOST|A valid external Instance reference no longer exists/i;

/** Whether the device itself is gone, and with it everything that it held. */
export const isLost = (message: string): boolean => lostWords.test(message);

/** A runtime's complaint as an error that says what was asked and what to turn down. */
export function explainFailure(message: string, device: Device, attempt: Attempt): EngineError {
  const name = device.name === "cpu" ? "The machine" : `The GPU (${device.model})`;
  if (isLost(message)) {
    return new EngineError(
      `${name} was lost while it ran ${attempt.what}: its driver was reset, and what lay in its memory is gone. Load the model again; training goes on from its newest checkpoint with resume: true. (${firstLine(message)})`,
    );
  }
  if (memoryWords.test(message)) {
    return new EngineError(`${name} ran out of memory in ${attempt.what}${askedFor(message, attempt)}. ${advice}`);
  }
  const lacking = /Could not find an implementation for (\w+)/.exec(message)?.[1];
  if (lacking) {
    return new EngineError(
      `${device.name} has no ${lacking} for the dtype that it is given in ${attempt.what}: cast to float32 or float16 before. (bfloat16 is computed by few devices, and by no CPU.)`,
    );
  }
  return new EngineError(message.trim());
}

/** A program that cannot fit is refused before the system ends the whole process for it. */
export function checkFits(need: MemoryNeed, limit: number, what: string): void {
  if (need.variables + need.workspace <= limit) return;
  throw new EngineError(
    `There is not enough memory for ${what}: it needs about ${describeNeed(need)}, and this process may use ${showBytes(limit)}. ${advice}`,
  );
}

function askedFor(message: string, { need }: Attempt): string {
  const asked = /(?:requested buffer of size|buffer size \()\s*(\d+)/i.exec(message)?.[1];
  const limit = /max buffer size limit \((\d+)\)/i.exec(message)?.[1];
  const parts = [
    asked && `a tensor of ${showBytes(Number(asked))} was asked for`,
    limit && `the device's longest is ${showBytes(Number(limit))}`,
    need && `the whole needs about ${describeNeed(need)}`,
  ].filter(Boolean);
  return parts.length > 0 ? `: ${parts.join("; ")}` : "";
}

const describeNeed = ({ variables, workspace }: MemoryNeed) =>
  `${showBytes(variables + workspace)} (${showBytes(variables)} of variables, ${showBytes(workspace)} of results on the way)`;

const firstLine = (text: string) => text.trim().split("\n")[0];
