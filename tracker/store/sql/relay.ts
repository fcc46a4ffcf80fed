import { randomUUID } from "node:crypto";
import pg from "pg";
import type { Relay, TrackerEvent } from "../../events.ts";

/** PostgreSQL rejects notifications of 8000 bytes or more. */
const LONGEST = 7500;
/** Delay before reconnecting, in milliseconds. */
const PAUSE = 1000;

interface Message {
  /** The sending process, which has already notified its own subscribers. */
  from: string;
  events: TrackerEvent[];
}

/** Packs events into messages within the limit; an event that is too long is split by keys. */
function* messages(from: string, events: TrackerEvent[]): Generator<string> {
  const text = JSON.stringify({ from, events } satisfies Message);
  if (Buffer.byteLength(text) <= LONGEST) {
    yield text;
    return;
  }
  const [only] = events;
  const halves = <T>(list: T[]): T[][] => [
    list.slice(0, Math.ceil(list.length / 2)),
    list.slice(Math.ceil(list.length / 2)),
  ];
  if (events.length > 1) for (const half of halves(events)) yield* messages(from, half);
  else if (only?.type === "metrics" && only.keys.length > 1) {
    for (const keys of halves(only.keys)) yield* messages(from, [{ ...only, keys }]);
  } else yield* messages(from, [{ type: "reset" }]);
}

/** Events between processes that share a PostgreSQL database, over LISTEN and NOTIFY. */
export async function postgresqlRelay(address: string, pool: pg.Pool): Promise<Relay> {
  const self = randomUUID();
  const listeners: ((event: TrackerEvent) => void)[] = [];
  let client: pg.Client | undefined;
  let closed = false;
  let pause: NodeJS.Timeout | undefined;
  const { rows } = await pool.query<{ schema: string }>("SELECT current_schema() AS schema");
  // Trackers in different schemas of one database do not share events.
  const channel = `anneal_${rows[0]?.schema ?? "public"}`.slice(0, 63);

  const tell = (event: TrackerEvent): void => {
    for (const listener of listeners) listener(event);
  };
  async function connect(): Promise<void> {
    const next = new pg.Client({ connectionString: address, keepAlive: true });
    let lost = false;
    const again = (): void => {
      if (lost || closed) return;
      lost = true;
      void next.end().catch(() => undefined);
      pause = setTimeout(() => {
        // Events sent meanwhile are lost.
        connect().then(
          () => tell({ type: "reset" }),
          () => undefined,
        );
      }, PAUSE);
    };
    next.on("error", again);
    next.on("end", again);
    next.on("notification", ({ payload = "" }) => {
      const { from, events } = JSON.parse(payload) as Message;
      if (from !== self) for (const event of events) tell(event);
    });
    try {
      await next.connect();
      await next.query(`LISTEN ${pg.escapeIdentifier(channel)}`);
      client = next;
    } catch (error) {
      again();
      throw error;
    }
  }
  await connect();

  return {
    receive: (listener) => void listeners.push(listener),
    send(events) {
      for (const text of messages(self, events)) {
        // Subscribers that miss it get the same data with their next read.
        pool.query("SELECT pg_notify($1, $2)", [channel, text]).catch(() => undefined);
      }
    },
    async close() {
      closed = true;
      clearTimeout(pause);
      await client?.end().catch(() => undefined);
    },
  };
}
