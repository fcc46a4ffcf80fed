/** Thrown when training cannot start or continue. */
export class TrainingError extends Error {
  override name = "TrainingError";
}
