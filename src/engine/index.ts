export { type Device, type DeviceName, resolveDevice } from "./device.ts";
export { CompiledProgram, defaultEngine, Engine, EngineError, type EngineOptions, State } from "./engine.ts";
export { type ProgramDefinition, ProgramError } from "./program.ts";
