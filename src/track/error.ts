/** Thrown when a tracker rejects a request, or does not respond. */
export class TrackerError extends Error {
  override name = "TrackerError";
  /** MLflow's error code, or "UNREACHABLE". */
  readonly code: string;
  /** Whether the same request may succeed later. */
  readonly temporary: boolean;
  /** Delay that the tracker requests, in milliseconds. */
  readonly retryAfter: number | undefined;
  /** HTTP status; undefined when there was no response. */
  readonly status: number | undefined;

  constructor(message: string, code: string, temporary: boolean, status?: number, retryAfter?: number) {
    super(message);
    this.status = status;
    this.code = code;
    this.temporary = temporary;
    this.retryAfter = retryAfter;
  }
}
