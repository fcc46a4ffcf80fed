import { createHmac, randomUUID } from "node:crypto";
import { lookup } from "node:dns/promises";
import { BlockList, isIPv6 } from "node:net";
import type { WebhookStore } from "../store/store.ts";
import type { Webhook, WebhookEvent } from "../store/types.ts";

/** Response timeout in milliseconds. */
const PATIENCE = 30_000;
/** Delays before the retries, in milliseconds. */
const PAUSES = [1000, 5000, 25_000, 125_000];
/** Transient statuses: the receiver is busy or starting. Other errors are permanent. */
const TEMPORARY = new Set([408, 425, 429, 500, 502, 503, 504]);

/** Cloud metadata addresses, which serve credentials: no receiver is there. */
const METADATA = new BlockList();
METADATA.addSubnet("169.254.0.0", 16, "ipv4");
METADATA.addSubnet("fe80::", 10, "ipv6");
METADATA.addAddress("fd00:ec2::254", "ipv6");

export interface DeliveryResult {
  ok: boolean;
  /** The status of the response; undefined if there was none. */
  status?: number;
  /** The beginning of the response. */
  body?: string;
  /** Why it failed. */
  why?: string;
  milliseconds: number;
}

/**
 * How a delivery is signed: `v1,` and the HMAC-SHA256 of `<delivery id>.<seconds since 1970>.<body>` in base64, as MLflow's
 * receivers and Standard Webhooks check it.
 */
export const sign = (secret: string, id: string, timestamp: string, body: string): string =>
  `v1,${createHmac("sha256", secret).update(`${id}.${timestamp}.${body}`).digest("base64")}`;

/** Sends one delivery, once. */
export async function send(
  webhook: Pick<Webhook, "url">,
  secret: string | null,
  { id, event, data }: { id: string; event: WebhookEvent; data: object },
  signal?: AbortSignal,
): Promise<DeliveryResult> {
  const [entity, action] = event.split(".");
  const body = JSON.stringify({ entity, action, timestamp: new Date().toISOString(), data });
  const timestamp = String(Math.floor(Date.now() / 1000));
  const started = performance.now();
  const took = (): number => Math.round(performance.now() - started);
  try {
    await refuseMetadata(new URL(webhook.url).hostname);
    const limit = AbortSignal.timeout(PATIENCE);
    const response = await fetch(webhook.url, {
      method: "POST",
      body,
      headers: {
        "content-type": "application/json",
        "x-mlflow-delivery-id": id,
        "x-mlflow-timestamp": timestamp,
        ...(secret === null ? {} : { "x-mlflow-signature": sign(secret, id, timestamp, body) }),
      },
      // A redirect would lead to a URL that no admin configured.
      redirect: "manual",
      signal: signal ? AbortSignal.any([limit, signal]) : limit,
    });
    const text = (await response.text()).slice(0, 1000);
    const { status, ok } = response;
    return { ok, status, body: text, milliseconds: took(), ...(ok ? {} : { why: `it answered ${status}` }) };
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    return { ok: false, why: cause instanceof Error ? cause.message : String(cause), milliseconds: took() };
  }
}

async function refuseMetadata(host: string): Promise<void> {
  const addresses = await lookup(host.replace(/^\[(.*)\]$/, "$1"), { all: true });
  if (addresses.some(({ address }) => METADATA.check(address, isIPv6(address) ? "ipv6" : "ipv4"))) {
    throw new Error(`${host} is a link-local address, where nothing is delivered`);
  }
}

/** Delivers events to webhooks in the background, with retries. */
export class WebhookDelivery {
  readonly #store: WebhookStore;
  readonly #closing = new AbortController();
  readonly #under = new Set<Promise<void>>();
  readonly #pauses: readonly number[];

  /** @param pauses milliseconds before each further try */
  constructor(store: WebhookStore, pauses: readonly number[] = PAUSES) {
    this.#store = store;
    this.#pauses = pauses;
  }

  /** Never throws and does not wait: the change is done even if the delivery fails. */
  notify(event: WebhookEvent, data: object): void {
    const work = this.#store
      .activeFor(event)
      .then((found) => Promise.all(found.map((it) => this.#deliver(it.webhook, it.secret, event, data))))
      .then(
        () => undefined,
        (error: unknown) => {
          process.stderr.write(`Webhooks were not told of ${event}: ${String(error)}\n`);
        },
      );
    this.#under.add(work);
    void work.finally(() => this.#under.delete(work));
  }

  async #deliver(webhook: Webhook, secret: string | null, event: WebhookEvent, data: object): Promise<void> {
    // The id is the same for all attempts, so that receivers can detect duplicates.
    const id = randomUUID();
    for (const pause of [...this.#pauses, undefined]) {
      const result = await send(webhook, secret, { id, event, data }, this.#closing.signal);
      const why = result.ok ? `${result.status}` : (result.why ?? "");
      await this.#store.delivered(webhook.id, { at: Date.now(), ok: result.ok, why: why.slice(0, 300) });
      const again = !result.ok && (result.status === undefined || TEMPORARY.has(result.status));
      if (!again || pause === undefined || this.#closing.signal.aborted) return;
      await this.#wait(pause);
    }
  }

  #wait(milliseconds: number): Promise<void> {
    const { signal } = this.#closing;
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        signal.removeEventListener("abort", done);
        resolve();
      };
      const timer = setTimeout(done, milliseconds);
      signal.addEventListener("abort", done);
    });
  }

  /** Aborts pending deliveries. */
  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.all(this.#under);
  }
}
