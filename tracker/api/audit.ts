import type { FastifyInstance, FastifyRequest } from "fastify";
import type { Change } from "../store/change.ts";
import type { AccessStore } from "../store/store.ts";
import { type Endpoint, rolesOf } from "./endpoints/endpoint.ts";
import { truncate } from "./limits.ts";

declare module "fastify" {
  interface FastifyRequest {
    /** What the request changes, for the audit log; undefined if the log does not record it. */
    change: Change | undefined;
  }
}

/** Whether the audit log records an endpoint: those that change data, that is, need more than the role viewer. */
const isAudited = (endpoint: Endpoint): boolean =>
  endpoint.audit !== false && rolesOf(endpoint).some(({ role }) => role !== "viewer");

/** The request fields that the audit log records. */
const LOGGED_FIELDS = [
  "experiment_id",
  "run_id",
  "run_uuid",
  "model_id",
  "trace_id",
  "request_id",
  "dataset_id",
  "webhook_id",
  "name",
  "new_name",
  "version",
  "stage",
  "alias",
  "key",
  "user",
  "kind",
  "target",
  "role",
  "label",
  "scope",
];

/** Characters of one recorded value, so that a long one leaves room for the others. */
const MAX_VALUE = 300;

/** Returns the declared fields of a message that the log records. The message need not be valid. */
function targetOf({ request: { properties } }: Endpoint, message: Record<string, unknown>): string {
  return LOGGED_FIELDS.flatMap((key) => {
    const value = Object.hasOwn(properties, key) && Object.hasOwn(message, key) ? message[key] : undefined;
    if (!["string", "number", "boolean"].includes(typeof value)) return [];
    return [`${key}=${truncate(String(value), MAX_VALUE).replaceAll("\0", "")}`];
  }).join(" ");
}

const actionOf = ({ method, url }: FastifyRequest): string => `${method} ${truncate(url.split("?")[0] ?? "", 300)}`;

/** Sets `request.change` for a request of a recorded endpoint. The store writes its entry together with the change. */
export function describeChange(request: FastifyRequest, endpoint: Endpoint, message: Record<string, unknown>): void {
  if (["GET", "HEAD"].includes(request.method) || !isAudited(endpoint)) return;
  const who = request.principal?.name ?? "nobody";
  request.change = { who, action: actionOf(request), target: targetOf(endpoint, message), recorded: false };
}

/**
 * Records requests whose entry the store has not written: those that were refused or failed, and changes outside the
 * database. A request for something that does not exist is not recorded.
 */
export function recordOthers(app: FastifyInstance, access: AccessStore): void {
  app.decorateRequest("change", undefined);
  // Entries are written one at a time, in the order of the responses; closing the server waits for the last one.
  let last: Promise<void> = Promise.resolve();
  app.addHook("onClose", () => last);
  app.addHook("onResponse", (request, reply, done) => {
    done();
    const { endpoint } = request.routeOptions.config ?? {};
    // A body that could not be read has no fields.
    if (endpoint && !request.change) describeChange(request, endpoint, request.params as Record<string, unknown>);
    const { change } = request;
    if (!change || reply.statusCode === 404 || (change.recorded && reply.statusCode === 200)) return;
    change.recorded = true;
    const { who, action, target } = change;
    const entry = { at: Date.now(), who, action, target, status: reply.statusCode };
    last = last.then(() => access.record(entry)).catch((error: unknown) => request.log.error(error));
  });
}
