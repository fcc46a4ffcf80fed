/** A tracker refused a request, or did not answer. */
export class TrackerError extends Error {
  override name = "TrackerError";
  /** MLflow's error code, or "UNREACHABLE". */
  readonly code: string;
  /** Whether the same request may succeed later. */
  readonly temporary: boolean;
  /** How long the tracker asks to be left alone, in milliseconds. */
  readonly retryAfter: number | undefined;
  /** HTTP's status; undefined where nothing answered. */
  readonly status: number | undefined;

  constructor(message: string, code: string, temporary: boolean, status?: number, retryAfter?: number) {
    super(message);
    this.status = status;
    this.code = code;
    this.temporary = temporary;
    this.retryAfter = retryAfter;
  }
}
