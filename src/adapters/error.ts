/** Thrown when an adapter's configuration or files are invalid, or do not fit the model. */
export class AdapterError extends Error {
  override name = "AdapterError";
}
