import { Type } from "@sinclair/typebox";
import { adminTracker, endpoint } from "./endpoint.ts";
import { listOf, oneOf, optional, PAGE, Text, WEBHOOK_STATUSES } from "./fields.ts";
import { Done, object, pageOf, Webhook, WebhookResult } from "./schemas.ts";

const BY_ID = { webhook_id: Text };
/** `{"entity": "MODEL_VERSION", "action": "CREATED"}`, or in short `MODEL_VERSION.CREATED`. */
const Event = Type.Union([Text, Type.Object({ entity: Text, action: Text })], {
  title: `an event such as {"entity": "MODEL_VERSION", "action": "CREATED"}`,
});
const FIELDS = {
  description: optional(Text),
  secret: optional(Text),
  status: optional(oneOf(WEBHOOK_STATUSES)),
};
const One = object({ webhook: Webhook });

export const createWebhook = endpoint({
  method: "POST",
  path: "/api/2.0/mlflow/webhooks",
  summary: "Create a webhook: a URL that is notified of changes in the registry.",
  request: Type.Object({ name: Text, url: Text, events: listOf(Event), ...FIELDS }),
  answer: One,
  right: adminTracker,
});

export const listWebhooks = endpoint({
  method: "GET",
  path: "/api/2.0/mlflow/webhooks",
  summary: "All webhooks.",
  request: Type.Object(PAGE),
  answer: pageOf("webhooks", Webhook),
  right: adminTracker,
});

export const getWebhook = endpoint({
  method: "GET",
  path: "/api/2.0/mlflow/webhooks/:webhook_id",
  summary: "A webhook by its id.",
  request: Type.Object(BY_ID),
  answer: One,
  right: adminTracker,
});

export const updateWebhook = endpoint({
  method: "PATCH",
  path: "/api/2.0/mlflow/webhooks/:webhook_id",
  summary: "Change a webhook.",
  request: Type.Object({
    ...BY_ID,
    name: optional(Text),
    url: optional(Text),
    events: optional(listOf(Event)),
    ...FIELDS,
  }),
  answer: One,
  right: adminTracker,
});

export const deleteWebhook = endpoint({
  method: "DELETE",
  path: "/api/2.0/mlflow/webhooks/:webhook_id",
  summary: "Delete a webhook.",
  request: Type.Object(BY_ID),
  answer: Done,
  right: adminTracker,
});

export const testWebhook = endpoint({
  method: "POST",
  path: "/api/2.0/mlflow/webhooks/:webhook_id/test",
  summary: "Send an example event to a webhook.",
  request: Type.Object({ ...BY_ID, event: optional(Event) }),
  answer: object({ result: WebhookResult }),
  right: adminTracker,
});
