/** V8's inspector of the child, used through the watcher thread, which can respond while the main thread is paused. */
import type { FromWatcher, ToWatcher } from "../host/protocol.ts";

/** An error response of the inspector. */
export class InspectorError extends Error {}

type Listener = (params: Record<string, unknown>) => void;

export class Inspector {
  readonly #send: (message: ToWatcher) => void;
  readonly #pending = new Map<number, { resolve: (result: unknown) => void; reject: (error: Error) => void }>();
  readonly #listeners = new Map<string, Listener>();
  #id = 0;

  constructor(send: (message: ToWatcher) => void) {
    this.#send = send;
  }

  /** Sends a request. @throws InspectorError when the inspector responds with an error, or the child exits before that */
  post<T>(method: string, params: Record<string, unknown> = {}): Promise<T> {
    const id = ++this.#id;
    this.#send({ type: "inspect", id, method, params });
    return new Promise<unknown>((resolve, reject) => this.#pending.set(id, { resolve, reject })) as Promise<T>;
  }

  on(event: string, listener: Listener): void {
    this.#listeners.set(event, listener);
  }

  /** Handles a message of the watcher thread. */
  handle(message: FromWatcher): void {
    if (message.type === "event") {
      this.#listeners.get(message.method)?.(message.params);
      return;
    }
    const pending = this.#pending.get(message.id);
    this.#pending.delete(message.id);
    if (message.error === undefined) pending?.resolve(message.result);
    else pending?.reject(new InspectorError(message.error));
  }

  /** Rejects all pending requests after the child has exited. */
  close(): void {
    for (const { reject } of this.#pending.values())
      reject(new InspectorError("the process that runs cells has exited"));
    this.#pending.clear();
  }
}
