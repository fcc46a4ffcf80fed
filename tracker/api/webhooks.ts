import { randomUUID } from "node:crypto";
import type { FastifyInstance } from "fastify";
import { invalid } from "../errors.ts";
import { limitOf, nameOf, offsetOf, pageToken } from "../message.ts";
import type { Webhook, WebhookEvent } from "../store/types.ts";
import type { Tracker } from "../tracker.ts";
import { checkHost } from "../webhooks/addresses.ts";
import { type DeliveryOptions, send } from "../webhooks/deliver.ts";
import { WEBHOOK_STATUSES } from "./endpoints/fields.ts";
import type * as schemas from "./endpoints/schemas.ts";
import * as endpoints from "./endpoints/webhooks.ts";
import { checkName } from "./limits.ts";
import { route } from "./route.ts";
import * as shapes from "./shapes.ts";

/** An example of each event's data, for testing a webhook. */
const EXAMPLES: Readonly<Record<WebhookEvent, object>> = {
  "registered_model.created": { name: "example", tags: { task: "documentation" }, description: "An example" },
  "model_version.created": {
    name: "example",
    version: "1",
    source: "runs:/0123456789abcdef0123456789abcdef/model",
    run_id: "0123456789abcdef0123456789abcdef",
    tags: {},
    description: null,
  },
  "model_version_tag.set": { name: "example", version: "1", key: "reviewed", value: "yes" },
  "model_version_tag.deleted": { name: "example", version: "1", key: "reviewed" },
  "model_version_alias.created": { name: "example", alias: "champion", version: "1" },
  "model_version_alias.deleted": { name: "example", alias: "champion" },
  "model_version_stage.set": {
    name: "example",
    version: "1",
    from: "Staging",
    to: "Production",
    who: "ada",
    comment: null,
    source: "runs:/0123456789abcdef0123456789abcdef/model",
    run_id: "0123456789abcdef0123456789abcdef",
  },
  "prompt.created": { name: "greeting", tags: { task: "chat" }, description: "A greeting" },
  "prompt_version.created": {
    name: "greeting",
    version: "1",
    template: "Hello, {{name}}!",
    tags: {},
    description: null,
  },
  "prompt_tag.set": { name: "greeting", key: "reviewed", value: "yes" },
  "prompt_tag.deleted": { name: "greeting", key: "reviewed" },
  "prompt_version_tag.set": { name: "greeting", version: "1", key: "reviewed", value: "yes" },
  "prompt_version_tag.deleted": { name: "greeting", version: "1", key: "reviewed" },
  "prompt_alias.created": { name: "greeting", alias: "live", version: "1" },
  "prompt_alias.deleted": { name: "greeting", alias: "live" },
};

function eventOf(written: string | { entity: string; action: string }): WebhookEvent {
  const name = (typeof written === "string" ? written : `${written.entity}.${written.action}`).toLowerCase();
  const event = Object.keys(EXAMPLES).find((event): event is WebhookEvent => event === name);
  if (event) return event;
  const all = Object.keys(EXAMPLES).map((event) => event.toUpperCase());
  throw invalid(`Invalid webhook event '${name}': expected one of ${all.join(", ")}.`);
}

function eventsOf(list: (string | { entity: string; action: string })[]): WebhookEvent[] {
  if (list.length === 0) throw invalid("The webhook has no events: set at least one.");
  return [...new Set(list.map(eventOf))];
}

function checkUrl(text: string, { allowPrivate = false }: DeliveryOptions): string {
  if (text.trim() === "") throw invalid("Webhook URL cannot be empty or just whitespace.");
  let url: URL | undefined;
  try {
    url = new URL(text);
  } catch {
    // The error is thrown below.
  }
  if (url && !["http:", "https:"].includes(url.protocol)) {
    throw invalid(`Invalid webhook URL scheme: '${url.protocol.slice(0, -1)}'. Use http or https.`);
  }
  if (url?.username !== "" || url.password !== "" || text.length > 2000) {
    throw invalid(
      `Invalid webhook URL '${text.slice(0, 200)}': expected http(s)://host/path without a user name and password.`,
    );
  }
  try {
    checkHost(url, allowPrivate);
  } catch (error) {
    throw invalid(`Invalid webhook URL '${text.slice(0, 200)}': ${error instanceof Error ? error.message : error}.`);
  }
  return text;
}

const shape = (it: Webhook): schemas.Webhook => ({
  id: it.id,
  webhook_id: it.id,
  name: it.name,
  ...(it.description === null ? {} : { description: it.description }),
  url: it.url,
  events: it.events.map((event) => {
    const [entity = "", action = ""] = event.toUpperCase().split(".");
    return { entity, action };
  }),
  status: it.active ? "ACTIVE" : "DISABLED",
  creation_timestamp: it.createdAt,
  last_updated_timestamp: it.updatedAt,
  ...(it.last === null ? {} : { last_delivery: { time: it.last.at, success: it.last.ok, message: it.last.why } }),
});

/** Routes of webhooks, for admins of the tracker. */
export function webhookRoutes(app: FastifyInstance, { store, webhooks: { options } }: Tracker): void {
  const activeOf = (status: (typeof WEBHOOK_STATUSES)[number] | number) =>
    nameOf(WEBHOOK_STATUSES, status) === "ACTIVE";

  route(app, endpoints.createWebhook, async ({ name, url, events, description, secret, status }) => {
    const webhook = await store.webhooks.create({
      name: checkName(name, "webhook", 250),
      url: checkUrl(url, options),
      events: eventsOf(events),
      description: description ?? null,
      secret: secret || null,
      active: activeOf(status ?? "ACTIVE"),
    });
    return { webhook: shape(webhook) };
  });

  route(app, endpoints.listWebhooks, async ({ max_results, page_token }) => {
    const offset = offsetOf(page_token);
    const limit = limitOf(max_results, 100, 1000);
    const { items, more } = await store.webhooks.list({ offset, limit });
    return shapes.page("webhooks", items.map(shape), more ? pageToken(offset + limit) : undefined);
  });

  route(app, endpoints.getWebhook, async ({ webhook_id }) => ({
    webhook: shape(await store.webhooks.get(webhook_id)),
  }));

  route(app, endpoints.updateWebhook, async ({ webhook_id, name, url, events, description, secret, status }) => {
    const webhook = await store.webhooks.update(webhook_id, {
      ...(name === undefined ? {} : { name: checkName(name, "webhook", 250) }),
      ...(url === undefined ? {} : { url: checkUrl(url, options) }),
      // Protobuf's JSON may write an unset list as an empty one.
      ...(events === undefined || events.length === 0 ? {} : { events: eventsOf(events) }),
      ...(description === undefined ? {} : { description }),
      ...(secret === undefined ? {} : { secret: secret || null }),
      ...(status === undefined ? {} : { active: activeOf(status) }),
    });
    return { webhook: shape(webhook) };
  });

  route(app, endpoints.deleteWebhook, async ({ webhook_id }) => {
    await store.webhooks.remove(webhook_id);
    return {};
  });

  route(app, endpoints.testWebhook, async ({ webhook_id, event: name }) => {
    const webhook = await store.webhooks.get(webhook_id);
    const readSecret = await store.webhooks.secretOf(webhook_id);
    const event = name === undefined ? webhook.events[0] : eventOf(name);
    const result = await send(webhook, readSecret, { id: randomUUID(), event, data: EXAMPLES[event] }, options);
    return {
      result: {
        success: result.ok,
        ...(result.status === undefined ? {} : { response_status: result.status }),
        ...(result.body === undefined ? {} : { response_body: result.body }),
        ...(result.why === undefined ? {} : { error_message: result.why }),
        response_time_ms: result.milliseconds,
      },
    };
  });
}
