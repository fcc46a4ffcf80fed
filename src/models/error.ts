/** Thrown when a model's configuration is invalid, its files are damaged, or an operation is not supported. */
export class ModelError extends Error {
  override name = "ModelError";
}
