/** A request that cannot be answered, with the status and the sentence that say why. */
export class HttpError extends Error {
  readonly statusCode: number;

  constructor(statusCode: number, message: string) {
    super(message);
    this.statusCode = statusCode;
  }
}

/** A mistake in how the command was called, or a machine that lacks something: one line, no stack. */
export class UsageError extends Error {
  override name = "UsageError";
}

/** A message that quotes what it is about, such as JSON.parse's, without the line breaks in the quotation. */
export const oneLine = (message: string): string => message.replace(/\s+/g, " ");
