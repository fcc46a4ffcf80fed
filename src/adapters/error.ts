/** An adapter's settings or files are wrong, or do not fit the model. */
export class AdapterError extends Error {
  override name = "AdapterError";
}
