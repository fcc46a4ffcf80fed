export { type Checkpoint, loadCheckpoint, newestCheckpoint, type TrainerState } from "./checkpoint.ts";
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
  SGD,
  type SGDOptions,
} from "./optimizers/index.ts";
export { type StepEvent, TrainingError, type TrainOptions } from "./options.ts";
export { type LearningRateSchedule, scheduleMultiplier } from "./schedule.ts";
export { type TrainResult, train } from "./train.ts";
