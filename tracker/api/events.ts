import { Type } from "@sinclair/typebox";
import type { FastifyInstance } from "fastify";
import type { TrackerEvent } from "../events.ts";
import type { Tracker } from "../tracker.ts";
import { optional, parseMessage, Text } from "./message.ts";

/** Events of this long are sent together: a page needs no more, and a fast logger makes thousands a second. */
const WINDOW_MS = 200;
/** Proxies close connections that are silent for a minute. */
const HEARTBEAT_MS = 25_000;
/** A reader that falls this far behind is told to read everything anew. */
const MAX_PENDING = 2000;

/** What makes two events tell the same news, so that the later can stand for both. */
function topic(event: TrackerEvent): string {
  if (event.type === "experiment") return `experiment ${event.experimentId} ${event.change}`;
  if (event.type === "run") return `run ${event.runId} ${event.change}`;
  if (event.type === "metrics") return `metrics ${event.runId}`;
  return `model ${event.name} ${event.version ?? ""} ${event.change}`;
}

function merge(earlier: TrackerEvent | undefined, event: TrackerEvent): TrackerEvent {
  if (earlier?.type !== "metrics" || event.type !== "metrics") return event;
  return { ...event, keys: [...new Set([...earlier.keys, ...event.keys])] };
}

const wire = (event: TrackerEvent): object => {
  if (event.type === "model") return event;
  const { experimentId, ...rest } = event;
  if (rest.type === "experiment") return { ...rest, experiment_id: experimentId };
  const { runId, ...others } = rest;
  return { ...others, experiment_id: experimentId, run_id: runId };
};

/**
 * `GET events`: server-sent events named experiment, run, metrics and model, with JSON data; `reset` when the reader
 * was too slow and should read everything anew. `run_id` and `experiment_id` in the query narrow them down.
 */
export function eventRoutes(app: FastifyInstance, { events }: Tracker): void {
  const open = new Set<() => void>();
  app.addHook("preClose", async () => {
    for (const end of open) end();
  });

  app.get("/events", (request, reply) => {
    const wanted = parseMessage(Type.Object({ run_id: optional(Text), experiment_id: optional(Text) }), request.query);
    reply.hijack();
    const { raw } = reply;
    raw.writeHead(200, {
      "content-type": "text/event-stream",
      "cache-control": "no-cache, no-transform",
      "x-accel-buffering": "no",
    });
    raw.write("retry: 2000\n\nevent: open\ndata: {}\n\n");

    const pending = new Map<string, TrackerEvent>();
    let timer: NodeJS.Timeout | undefined;
    let blocked = false;
    let behind = false;
    const flush = (): void => {
      timer = undefined;
      if (blocked) return;
      let text = behind ? "event: reset\ndata: {}\n\n" : "";
      behind = false;
      for (const event of pending.values()) text += `event: ${event.type}\ndata: ${JSON.stringify(wire(event))}\n\n`;
      pending.clear();
      if (text !== "") blocked = !raw.write(text);
    };
    raw.on("drain", () => {
      blocked = false;
      flush();
    });
    const unsubscribe = events.subscribe((event) => {
      if (wanted.run_id && !("runId" in event && event.runId === wanted.run_id)) return;
      if (wanted.experiment_id && !("experimentId" in event && event.experimentId === wanted.experiment_id)) return;
      const key = topic(event);
      pending.set(key, merge(pending.get(key), event));
      if (pending.size > MAX_PENDING) {
        pending.clear();
        behind = true;
      }
      timer ??= setTimeout(flush, WINDOW_MS);
    });
    const heartbeat = setInterval(() => {
      if (!blocked) raw.write(": still here\n\n");
    }, HEARTBEAT_MS);
    const end = (): void => {
      unsubscribe();
      clearInterval(heartbeat);
      clearTimeout(timer);
      open.delete(end);
      raw.end();
    };
    open.add(end);
    raw.on("close", end);
    raw.on("error", end);
  });
}
