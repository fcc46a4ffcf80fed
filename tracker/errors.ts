/** MLflow's error codes and their HTTP statuses. */
const STATUS = {
  INVALID_PARAMETER_VALUE: 400,
  RESOURCE_ALREADY_EXISTS: 400,
  INVALID_STATE: 400,
  BAD_REQUEST: 400,
  DIGEST_MISMATCH: 400,
  UNAUTHENTICATED: 401,
  PERMISSION_DENIED: 403,
  RESOURCE_DOES_NOT_EXIST: 404,
  ENDPOINT_NOT_FOUND: 404,
  RESOURCE_CONFLICT: 409,
  REQUEST_LIMIT_EXCEEDED: 429,
  INTERNAL_ERROR: 500,
  TEMPORARILY_UNAVAILABLE: 503,
} as const;

export type ErrorCode = keyof typeof STATUS;

/** An error for the client, sent as `{ error_code, message, ...details }` with the code's HTTP status. */
export class TrackerError extends Error {
  readonly code: ErrorCode;
  readonly statusCode: number;
  readonly details: Record<string, unknown>;

  constructor(code: ErrorCode, message: string, details: Record<string, unknown> = {}) {
    super(message);
    this.name = "TrackerError";
    this.code = code;
    this.statusCode = STATUS[code];
    this.details = details;
  }
}

/** Returns an error for an invalid request. */
export const invalid = (message: string): TrackerError => new TrackerError("INVALID_PARAMETER_VALUE", message);

/** Returns an error for an object that does not exist. */
export const missing = (message: string): TrackerError => new TrackerError("RESOURCE_DOES_NOT_EXIST", message);

/** Returns an error for a name that is already in use. */
export const exists = (message: string): TrackerError => new TrackerError("RESOURCE_ALREADY_EXISTS", message);

/** Returns an error for a service that the tracker cannot reach; clients retry. */
export const unavailable = (message: string): TrackerError => new TrackerError("TEMPORARILY_UNAVAILABLE", message);
