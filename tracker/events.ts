/** What happened in the tracker, as pages that watch it are told. */
export type TrackerEvent =
  | { type: "experiment"; experimentId: string; change: "created" | "updated" | "deleted" }
  | { type: "run"; experimentId: string; runId: string; change: "created" | "updated" | "deleted" }
  | { type: "metrics"; experimentId: string; runId: string; keys: string[] }
  | { type: "model"; name: string; version?: number; change: "created" | "updated" | "stage" | "deleted" };

/** Hands events on to whoever listens at the moment; keeps none. */
export class Events {
  #listeners = new Set<(event: TrackerEvent) => void>();

  publish(event: TrackerEvent): void {
    for (const listener of this.#listeners) listener(event);
  }

  /** @returns a function that ends the subscription */
  subscribe(listener: (event: TrackerEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  get watched(): boolean {
    return this.#listeners.size > 0;
  }
}
