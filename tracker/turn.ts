import { RequestLocal } from "./request-local.ts";

/*
 * Shares the main thread between requests. SQLite answers there, and JSON is written there, so the long work of one request
 * would delay all others. It is done in pieces: a request that has worked for long waits until the others have been served.
 */

/** Milliseconds that a request may work before it waits for its next turn. */
const TURN_MS = 20;

/** One request's work since its last turn, in milliseconds. */
const current = new RequestLocal<{ worked: number }>();

/** Runs the work of one request. */
export const asRequest = <T>(work: () => T): T => current.run({ worked: 0 }, work);

const waiting: (() => void)[] = [];

/** Lets one request go on in each turn of the event loop. In between, short requests are served. */
function goOn(): void {
  waiting.shift()?.();
  if (waiting.length > 0) setImmediate(goOn);
}

/** Returns the request that the caller works for; undefined for work of the tracker itself. */
export const currentRequest = (): { worked: number } | undefined => current.get();

/** Returns what a request has to wait for that has worked for long; undefined for others. */
export function nextTurn(request: { worked: number }): Promise<void> | undefined {
  if (request.worked <= TURN_MS) return undefined;
  request.worked = 0;
  return new Promise<void>((resolve) => {
    waiting.push(resolve);
    if (waiting.length === 1) setImmediate(goOn);
  });
}

/** Does a piece of work and counts it for its request. */
export function counted<T>(request: { worked: number }, work: () => T): T {
  const start = performance.now();
  try {
    return work();
  } finally {
    request.worked += performance.now() - start;
  }
}

/** Does a piece of work, after waiting for a turn if the request has worked for long. */
export async function inTurn<T>(work: () => T): Promise<T> {
  const request = current.get();
  if (!request) return work();
  await nextTurn(request);
  return counted(request, work);
}
