export { Adafactor, type AdafactorOptions } from "./adafactor.ts";
export { Adam, type AdamOptions, AdamW } from "./adamw.ts";
export { buildOptimizer, describeOptimizer, type OptimizerName, optimizerNames } from "./build.ts";
export { Lion, type LionOptions } from "./lion.ts";
export { Muon, type MuonOptions } from "./muon.ts";
export {
  Optimizer,
  type OptimizerOptions,
  type OptimizerStep,
  type StepListener,
  type Updated,
  type Updater,
} from "./optimizer.ts";
export { SGD, type SGDOptions } from "./sgd.ts";
