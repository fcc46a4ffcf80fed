// The only file outside of engine/onnx and engine/interpreter that names them: which executor serves which device.
import type { Device, DeviceName } from "./device.ts";
import type { Executor } from "./executor.ts";
import { InterpreterExecutor } from "./interpreter/executor.ts";
import { loadsWithoutFallback, OnnxExecutor, runtimeVersion } from "./onnx/executor.ts";
import { defineProgram, type ProgramDefinition } from "./program.ts";

/** Start what runs programs on a device. */
export function openExecutor(device: Device): Executor {
  return device.name === "interpreter" ? new InterpreterExecutor() : new OnnxExecutor(device);
}

/** The runtime that the CPU and WebGPU use, with its version. */
export const runtime = (): { name: string; version: string } => ({ name: "ONNX Runtime", version: runtimeVersion() });

/**
 * Check that a device has every operator of a program itself.
 * @throws Error when some of them would run elsewhere
 */
export async function runsWithoutFallback(definition: ProgramDefinition, device: DeviceName): Promise<void> {
  await loadsWithoutFallback(defineProgram(definition), device);
}
