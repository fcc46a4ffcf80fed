import "./loop.ts";

export { type Checkpoint, loadCheckpoint, newestCheckpoint, type TrainerState } from "./checkpoint.ts";
export { TrainingError } from "./error.ts";
export type { Collated, Objective, Prepared, PrepareOptions } from "./objectives/objective.ts";
export { sft } from "./objectives/sft.ts";
export type { OffloadTarget } from "./offload.ts";
export {
  Adafactor,
  type AdafactorOptions,
  Adam,
  type AdamOptions,
  AdamW,
  Lion,
  type LionOptions,
  Muon,
  type MuonOptions,
  Optimizer,
  type OptimizerName,
  type OptimizerOptions,
  type OptimizerStep,
  SGD,
  type SGDOptions,
  type StepListener,
  type Updated,
  type Updater,
} from "./optimizers/index.ts";
export type { ResolvedOptions, StepEvent, TrainOptions } from "./options.ts";
export { type LearningRateSchedule, scheduleMultiplier } from "./schedule.ts";
export { type TrainResult, train } from "./train.ts";
