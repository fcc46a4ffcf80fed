import type { Failure } from "../executor.ts";

const memoryWords =
  /failed to allocate|out.?of.?memory|bad_alloc|max buffer size|Array buffer allocation|narrowing_error/i;
const lostWords = /device (was |is )?lost|DEVICE_LOST|A valid external Instance reference no longer exists/i;

/** Classifies an error message of the runtime. */
export function classifyFailure(message: string): Failure {
  if (lostWords.test(message)) return { kind: "lost" };
  if (memoryWords.test(message)) {
    const requested = /(?:requested buffer of size|buffer size \()\s*(\d+)/i.exec(message)?.[1];
    const limit = /max buffer size limit \((\d+)\)/i.exec(message)?.[1];
    return {
      kind: "memory",
      ...(requested ? { requested: Number(requested) } : {}),
      ...(limit ? { limit: Number(limit) } : {}),
    };
  }
  const operator = /Could not find an implementation for (\w+)/.exec(message)?.[1];
  return operator ? { kind: "unsupported", operator } : { kind: "other" };
}
