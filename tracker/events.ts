/** A change in the tracker, as sent to open pages. */
export type TrackerEvent =
  | { type: "experiment"; experimentId: string; change: "created" | "updated" | "deleted" }
  | { type: "run"; experimentId: string; runId: string; change: "created" | "updated" | "deleted" }
  | { type: "metrics"; experimentId: string; runId: string; keys: string[] }
  | { type: "model"; name: string; version?: number; change: "created" | "updated" | "stage" | "deleted" }
  /** Events were lost: pages must reload their data. */
  | { type: "reset" };

/** Exchanges events with the tracker's other processes. */
export interface Relay {
  send(events: TrackerEvent[]): void;
  receive(listener: (event: TrackerEvent) => void): void;
  close(): Promise<void>;
}

/** Publishes events to the current subscribers, in this process and the tracker's others. Does not store events. */
export class Events {
  #listeners = new Set<(event: TrackerEvent) => void>();
  readonly #relay: Relay | undefined;
  readonly #outgoing: EventWindow | undefined;

  constructor(relay?: Relay) {
    this.#relay = relay;
    relay?.receive((event) => this.#tell(event));
    if (relay) this.#outgoing = new EventWindow((events) => relay.send(events));
  }

  publish(event: TrackerEvent): void {
    this.#tell(event);
    this.#outgoing?.add(event);
  }

  #tell(event: TrackerEvent): void {
    for (const listener of this.#listeners) listener(event);
  }

  /** @returns a function that ends the subscription */
  subscribe(listener: (event: TrackerEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  async close(): Promise<void> {
    this.#outgoing?.close();
    await this.#relay?.close();
  }
}

/** Milliseconds for which events are batched: a fast logger produces thousands per second. */
const WINDOW = 200;
/** More events than this in one window are sent as one `reset`. */
const MAX_EVENTS = 2000;

/** Batches events over a short window and removes duplicates. */
export class EventWindow {
  readonly #pending = new Map<string, TrackerEvent>();
  readonly #flush: (events: TrackerEvent[]) => void;
  #timer: NodeJS.Timeout | undefined;

  constructor(flush: (events: TrackerEvent[]) => void) {
    this.#flush = flush;
  }

  add(event: TrackerEvent): void {
    const key = topic(event);
    this.#pending.set(key, merge(this.#pending.get(key), event));
    if (this.#pending.size > MAX_EVENTS) {
      this.#pending.clear();
      this.#pending.set("reset", { type: "reset" });
    }
    this.#timer ??= setTimeout(() => this.#end(), WINDOW);
  }

  #end(): void {
    this.#timer = undefined;
    const events = [...this.#pending.values()];
    this.#pending.clear();
    this.#flush(events);
  }

  close(): void {
    clearTimeout(this.#timer);
  }
}

/** Returns a key that is equal for events of which only the last needs to be sent. */
function topic(event: TrackerEvent): string {
  if (event.type === "experiment") return `experiment ${event.experimentId} ${event.change}`;
  if (event.type === "run") return `run ${event.runId} ${event.change}`;
  if (event.type === "metrics") return `metrics ${event.runId}`;
  if (event.type === "reset") return "reset";
  return `model ${event.name} ${event.version ?? ""} ${event.change}`;
}

function merge(earlier: TrackerEvent | undefined, event: TrackerEvent): TrackerEvent {
  if (earlier?.type !== "metrics" || event.type !== "metrics") return event;
  return { ...event, keys: [...new Set([...earlier.keys, ...event.keys])] };
}
