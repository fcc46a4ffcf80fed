import type { FastifyInstance } from "fastify";
import { currentPrincipal } from "../access/principal.ts";
import { EventWindow, type TrackerEvent } from "../events.ts";
import type { Tracker } from "../tracker.ts";
import { getEvents } from "./endpoints/events.ts";
import { route } from "./route.ts";

/** Proxies close connections that are silent for a minute. */
const HEARTBEAT_MS = 25_000;
/** Characters that are kept for a reader that does not read. */
const LONGEST = 500_000;
const wire = (event: TrackerEvent): object => {
  if (event.type === "model") return event;
  if (event.type === "reset") return {};
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

  route(app, getEvents, async (wanted, _request, reply) => {
    const principal = currentPrincipal();
    reply.hijack();
    const { raw } = reply;
    raw.writeHead(200, {
      "content-type": "text/event-stream",
      "cache-control": "no-cache, no-transform",
      "x-accel-buffering": "no",
    });
    raw.write("retry: 2000\n\nevent: open\ndata: {}\n\n");

    let blocked = false;
    /** News for a reader that has not taken the last yet; grown too long, it is told to read everything anew. */
    let waiting = "";
    const send = (text: string): void => {
      if (!blocked) blocked = !raw.write(text);
      else waiting = waiting.length + text.length > LONGEST ? "event: reset\ndata: {}\n\n" : waiting + text;
    };
    raw.on("drain", () => {
      blocked = false;
      const text = waiting;
      waiting = "";
      if (text !== "") send(text);
    });
    const window = new EventWindow((news) =>
      send(news.map((event) => `event: ${event.type}\ndata: ${JSON.stringify(wire(event))}\n\n`).join("")),
    );
    const unsubscribe = events.subscribe((event) => {
      const all = event.type === "reset";
      if (event.type === "model" && !principal.may("viewer", { model: event.name })) return;
      if ("experimentId" in event && !principal.may("viewer", { experiment: event.experimentId })) return;
      if (!all && wanted.run_id && !("runId" in event && event.runId === wanted.run_id)) return;
      const { experiment_id } = wanted;
      if (!all && experiment_id && !("experimentId" in event && event.experimentId === experiment_id)) return;
      window.add(event);
    });
    const heartbeat = setInterval(() => {
      if (!blocked) raw.write(": still here\n\n");
    }, HEARTBEAT_MS);
    const end = (): void => {
      unsubscribe();
      clearInterval(heartbeat);
      window.close();
      open.delete(end);
      raw.end();
    };
    open.add(end);
    raw.on("close", end);
    raw.on("error", end);
    return reply;
  });
}
