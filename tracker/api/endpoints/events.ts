import { Type } from "@sinclair/typebox";
import { endpoint } from "./endpoint.ts";
import { optional, Text } from "./fields.ts";

export const getEvents = endpoint({
  method: "GET",
  path: "/api/anneal/events",
  summary: "Server-sent events for changes of runs, metrics, models and experiments.",
  request: Type.Object({ run_id: optional(Text), experiment_id: optional(Text) }),
  answer: "text/event-stream",
  right: "filtered",
});
