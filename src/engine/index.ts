import "./evaluate.ts";
import "./show.ts";

export { type Device, type DeviceName, describeDevice, deviceTags } from "./device.ts";
export { CompiledProgram, defaultEngine, Engine, type EngineOptions, State, sharedEngine } from "./engine.ts";
export type { Executor, Failure } from "./executor.ts";
export { EngineError } from "./failure.ts";
export {
  type ProgramArgument,
  type ProgramFunction,
  type ProgramOptions,
  program,
} from "./function.ts";
export { type CheckedSlope, checkGradients, type GradientCheck, type GradientCheckOptions } from "./gradient-check.ts";
export { measureGflops } from "./measure.ts";
export { homeOf, readParameters, releaseParameters, settleParameters } from "./parameters.ts";
export { type ProgramDefinition, ProgramError } from "./program.ts";
