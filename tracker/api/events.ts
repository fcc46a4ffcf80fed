import type { FastifyInstance } from "fastify";
import { currentPrincipal } from "../access/principal.ts";
import { EventWindow, type TrackerEvent } from "../events.ts";
import type { Tracker } from "../tracker.ts";
import { getEvents } from "./endpoints/events.ts";
import { route } from "./route.ts";

/** Milliseconds between comments that keep the connection open: proxies close one that is idle for a minute. */
const HEARTBEAT_MS = 25_000;
/** Interval at which an open connection gets its user's rights anew, in milliseconds. The guard keeps them for some seconds. */
const RENEW_MS = 1000;
/** Characters buffered for a client that does not read. */
const MAX_BUFFERED = 500_000;
const wire = (event: TrackerEvent): object => {
  if (event.type === "model") return event;
  if (event.type === "reset") return {};
  const { experimentId, ...rest } = event;
  if (rest.type === "experiment") return { ...rest, experiment_id: experimentId };
  const { runId, ...fields } = rest;
  return { ...fields, experiment_id: experimentId, run_id: runId };
};

/**
 * `GET events`: server-sent events named experiment, run, metrics and model, with JSON data, and `reset` after which a
 * client that was too slow should reload everything. `run_id` and `experiment_id` in the query filter the events.
 */
export function eventRoutes(app: FastifyInstance, { events }: Tracker): void {
  const connections = new Set<() => void>();
  app.addHook("preClose", async () => {
    for (const end of connections) end();
  });

  route(app, getEvents, async (filter, request, reply) => {
    let principal = currentPrincipal();
    reply.hijack();
    const { raw } = reply;
    raw.writeHead(200, {
      "content-type": "text/event-stream",
      "cache-control": "no-cache, no-transform",
      "x-accel-buffering": "no",
    });
    raw.write("retry: 2000\n\nevent: open\ndata: {}\n\n");

    let blocked = false;
    /** Events buffered while the client does not read; replaced by `reset` when they get too long. */
    let buffered = "";
    const send = (text: string): void => {
      if (!blocked) blocked = !raw.write(text);
      else buffered = buffered.length + text.length > MAX_BUFFERED ? "event: reset\ndata: {}\n\n" : buffered + text;
    };
    raw.on("drain", () => {
      blocked = false;
      const text = buffered;
      buffered = "";
      if (text !== "") send(text);
    });
    const window = new EventWindow((batch) =>
      send(batch.map((event) => `event: ${event.type}\ndata: ${JSON.stringify(wire(event))}\n\n`).join("")),
    );
    const unsubscribe = events.subscribe((event) => {
      const all = event.type === "reset";
      if (event.type === "model" && !principal.may("viewer", { model: event.name })) return;
      if ("experimentId" in event && !principal.may("viewer", { experiment: event.experimentId })) return;
      if (!all && filter.run_id && !("runId" in event && event.runId === filter.run_id)) return;
      const { experiment_id } = filter;
      if (!all && experiment_id && !("experimentId" in event && event.experimentId === experiment_id)) return;
      window.add(event);
    });
    const heartbeat = setInterval(() => {
      if (!blocked) raw.write(": still here\n\n");
    }, HEARTBEAT_MS);
    const renewal = setInterval(async () => {
      try {
        const now = await request.renewPrincipal?.();
        if (now) principal = now;
        else if (request.renewPrincipal) end();
      } catch {
        // The database does not answer; the client connects again, and is checked then.
        end();
      }
    }, RENEW_MS);
    const end = (): void => {
      unsubscribe();
      clearInterval(renewal);
      clearInterval(heartbeat);
      window.close();
      connections.delete(end);
      raw.end();
    };
    connections.add(end);
    raw.on("close", end);
    raw.on("error", end);
    return reply;
  });
}
