/** A request that fails with an HTTP status and a message. */
export class HttpError extends Error {
  readonly statusCode: number;

  constructor(statusCode: number, message: string) {
    super(message);
    this.statusCode = statusCode;
  }
}

/** An error in the usage or the environment, printed as one line without a stack. */
export class UsageError extends Error {
  override name = "UsageError";
}

/** Replaces line breaks in a message, such as JSON.parse's with its quotation. */
export const oneLine = (message: string): string => message.replace(/\s+/g, " ");
