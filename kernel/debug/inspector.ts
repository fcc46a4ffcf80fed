/** V8's inspector of the child, reached by the child's watching thread: it answers while the main thread is stopped. */
import type { FromWatcher, ToWatcher } from "../host/protocol.ts";

/** A request that the inspector refused. */
export class InspectorError extends Error {}

type Listener = (params: Record<string, unknown>) => void;

export class Inspector {
  readonly #tell: (message: ToWatcher) => void;
  readonly #waiting = new Map<number, { resolve: (result: unknown) => void; reject: (error: Error) => void }>();
  readonly #listeners = new Map<string, Listener>();
  #id = 0;

  constructor(tell: (message: ToWatcher) => void) {
    this.#tell = tell;
  }

  /** @throws InspectorError when the inspector refuses, or the child ends before it answers */
  post<T>(method: string, params: Record<string, unknown> = {}): Promise<T> {
    const id = ++this.#id;
    this.#tell({ type: "inspect", id, method, params });
    return new Promise<unknown>((resolve, reject) => this.#waiting.set(id, { resolve, reject })) as Promise<T>;
  }

  on(event: string, listener: Listener): void {
    this.#listeners.set(event, listener);
  }

  /** Takes what the watching thread tells. */
  take(message: FromWatcher): void {
    if (message.type === "event") {
      this.#listeners.get(message.method)?.(message.params);
      return;
    }
    const waiting = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if (message.error === undefined) waiting?.resolve(message.result);
    else waiting?.reject(new InspectorError(message.error));
  }

  /** The child is gone. */
  close(): void {
    for (const { reject } of this.#waiting.values()) reject(new InspectorError("the process of the cells has ended"));
    this.#waiting.clear();
  }
}
