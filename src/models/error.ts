/** A model's settings do not make sense, its files are damaged, or it cannot do what is asked. */
export class ModelError extends Error {
  override name = "ModelError";
}
