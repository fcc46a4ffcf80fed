import { availableParallelism } from "node:os";

/** Where programs run. */
export type DeviceName = "cpu";

/** What a device was chosen for. */
export interface Device {
  readonly name: DeviceName;
  /** Threads that one operation is spread over (CPU). */
  readonly threads: number;
}

/**
 * Settle what to run on.
 * @param wanted "auto" takes the CPU, the one device that every machine has and that gives the same bits each time
 * @param threads whole number of 1 or more; as many as the machine lets this process use when left out
 */
export function resolveDevice(wanted: DeviceName | "auto" = "auto", threads = availableParallelism()): Device {
  if (!Number.isInteger(threads) || threads < 1) throw new RangeError(`threads must be 1 or more, not ${threads}`);
  if (wanted !== "auto" && wanted !== "cpu") {
    throw new RangeError(`device must be "auto" or "cpu", not "${String(wanted)}"`);
  }
  return { name: "cpu", threads };
}
