// Selects the executor of a device. Only this file may import from engine/onnx and engine/interpreter.
import type { Device, DeviceName } from "./device.ts";
import type { Executor } from "./executor.ts";
import { InterpreterExecutor } from "./interpreter/executor.ts";
import { loadsWithoutFallback, OnnxExecutor, runtimeVersion } from "./onnx/executor.ts";
import { defineProgram, type ProgramDefinition } from "./program.ts";

/** Starts the executor of a device. */
export function openExecutor(device: Device): Executor {
  return device.name === "interpreter" ? new InterpreterExecutor() : new OnnxExecutor(device);
}

/** Returns the runtime of the CPU and WebGPU, with its version. */
export const runtime = (): { name: string; version: string } => ({ name: "ONNX Runtime", version: runtimeVersion() });

/**
 * Checks that a device supports all operators of a program.
 * @throws Error when some of them would run on the CPU instead
 */
export async function runsWithoutFallback(definition: ProgramDefinition, device: DeviceName): Promise<void> {
  await loadsWithoutFallback(defineProgram(definition), device);
}
