/** A training that cannot start or go on. */
export class TrainingError extends Error {
  override name = "TrainingError";
}
