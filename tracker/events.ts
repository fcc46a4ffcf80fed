/** What happened in the tracker, as pages that watch it are told. */
export type TrackerEvent =
  | { type: "experiment"; experimentId: string; change: "created" | "updated" | "deleted" }
  | { type: "run"; experimentId: string; runId: string; change: "created" | "updated" | "deleted" }
  | { type: "metrics"; experimentId: string; runId: string; keys: string[] }
  | { type: "model"; name: string; version?: number; change: "created" | "updated" | "stage" | "deleted" }
  /** News was lost: what is shown has to be read anew. */
  | { type: "reset" };

/** Takes news to the other processes of a tracker, and brings theirs. */
export interface Relay {
  send(events: TrackerEvent[]): void;
  receive(listener: (event: TrackerEvent) => void): void;
  close(): Promise<void>;
}

/** Hands events on to whoever listens at the moment, here and in the tracker's other processes; keeps none. */
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

/** Milliseconds for which events are gathered: nobody needs them sooner, and a fast logger makes thousands a second. */
const WINDOW = 200;
/** More in one window than this are told as `reset`. */
const MOST = 2000;

/** Gathers events for a moment; of those that tell the same news, one stays. */
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
    if (this.#pending.size > MOST) {
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

/** What makes two events tell the same news, so that the later can stand for both. */
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
