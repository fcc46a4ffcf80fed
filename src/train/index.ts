export { type Checkpoint, loadCheckpoint, newestCheckpoint, type TrainerState } from "./checkpoint.ts";
export { type StepEvent, TrainingError, type TrainOptions } from "./options.ts";
export { type LearningRateSchedule, scheduleMultiplier } from "./schedule.ts";
export { type TrainResult, train } from "./train.ts";
