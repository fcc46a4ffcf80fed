export { type Device, type DeviceName, resolveDevice } from "./device.ts";
export { CompiledProgram, defaultEngine, Engine, EngineError, type EngineOptions, State } from "./engine.ts";
export { type CheckedSlope, checkGradients, type GradientCheck, type GradientCheckOptions } from "./gradient-check.ts";
export { type ProgramDefinition, ProgramError } from "./program.ts";
