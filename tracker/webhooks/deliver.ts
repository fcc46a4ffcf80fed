import { createHmac, randomUUID } from "node:crypto";
import { request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";
import type { WebhookStore } from "../store/store.ts";
import type { Webhook, WebhookEvent } from "../store/types.ts";
import { checkHost, guardedLookup } from "./addresses.ts";

/** Response timeout in milliseconds. */
const PATIENCE = 30_000;
/** Delays before the retries, in milliseconds. */
const PAUSES = [1000, 5000, 25_000, 125_000];
/** Transient statuses: the receiver is busy or starting. Other errors are permanent. */
const TEMPORARY = new Set([408, 425, 429, 500, 502, 503, 504]);

/** Bytes of an answer that are read. */
const MAX_ANSWER = 1000;

/** Where webhooks may be delivered. */
export interface DeliveryOptions {
  /** Also to this machine and private networks. */
  allowPrivate?: boolean;
}

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

/** Sends a request and reads the beginning of its answer. Redirects are not followed: they lead where no admin pointed. */
function post(
  url: URL,
  body: string,
  { headers, signal, allowPrivate }: { headers: Record<string, string>; signal: AbortSignal; allowPrivate: boolean },
): Promise<{ status: number; body: string }> {
  checkHost(url, allowPrivate);
  return new Promise((resolve, reject) => {
    const request = (url.protocol === "https:" ? requestHttps : requestHttp)(
      url,
      {
        method: "POST",
        headers: { ...headers, "content-length": Buffer.byteLength(body) },
        agent: false,
        lookup: guardedLookup(allowPrivate),
        signal,
      },
      (answer) => {
        const pieces: Buffer[] = [];
        let length = 0;
        const done = (): void => {
          answer.destroy();
          resolve({ status: answer.statusCode ?? 0, body: Buffer.concat(pieces).subarray(0, MAX_ANSWER).toString() });
        };
        answer.on("data", (piece: Buffer) => {
          pieces.push(piece);
          length += piece.length;
          if (length >= MAX_ANSWER) done();
        });
        answer.on("end", done);
        answer.on("error", reject);
      },
    );
    request.on("error", reject);
    request.end(body);
  });
}

/**
 * Sends one delivery, once.
 * @param readSecret returns the secret that signs it
 */
export async function send(
  webhook: Pick<Webhook, "url">,
  readSecret: () => string | null,
  { id, event, data }: { id: string; event: WebhookEvent; data: object },
  { allowPrivate = false, signal }: DeliveryOptions & { signal?: AbortSignal } = {},
): Promise<DeliveryResult> {
  const [entity, action] = event.split(".");
  const body = JSON.stringify({ entity, action, timestamp: new Date().toISOString(), data });
  const timestamp = String(Math.floor(Date.now() / 1000));
  const started = performance.now();
  const took = (): number => Math.round(performance.now() - started);
  const limit = AbortSignal.timeout(PATIENCE);
  try {
    const secret = readSecret();
    const headers = {
      "content-type": "application/json",
      "x-mlflow-delivery-id": id,
      "x-mlflow-timestamp": timestamp,
      ...(secret === null ? {} : { "x-mlflow-signature": sign(secret, id, timestamp, body) }),
    };
    const both = signal ? AbortSignal.any([limit, signal]) : limit;
    const answer = await post(new URL(webhook.url), body, { headers, signal: both, allowPrivate });
    const ok = answer.status >= 200 && answer.status < 300;
    return { ...answer, ok, milliseconds: took(), ...(ok ? {} : { why: `it answered ${answer.status}` }) };
  } catch (error) {
    const late = limit.aborted ? `no complete answer within ${PATIENCE / 1000} s` : undefined;
    return { ok: false, why: late ?? (error instanceof Error ? error.message : String(error)), milliseconds: took() };
  }
}

/** Delivers events to webhooks in the background, with retries. */
export class WebhookDelivery {
  readonly #store: WebhookStore;
  readonly #closing = new AbortController();
  readonly #under = new Set<Promise<void>>();
  readonly #pauses: readonly number[];
  readonly options: DeliveryOptions;

  /** @param options.pauses milliseconds before each further try */
  constructor(
    store: WebhookStore,
    { pauses = PAUSES, ...options }: DeliveryOptions & { pauses?: readonly number[] } = {},
  ) {
    this.#store = store;
    this.#pauses = pauses;
    this.options = options;
  }

  /** Never throws and does not wait: the change is done even if the delivery fails. */
  notify(event: WebhookEvent, data: object): void {
    const work = this.#store
      .activeFor(event)
      .then((found) => Promise.all(found.map((it) => this.#deliver(it.webhook, it.readSecret, event, data))))
      .then(
        () => undefined,
        (error: unknown) => {
          process.stderr.write(`Webhooks were not told of ${event}: ${String(error)}\n`);
        },
      );
    this.#under.add(work);
    void work.finally(() => this.#under.delete(work));
  }

  async #deliver(webhook: Webhook, readSecret: () => string | null, event: WebhookEvent, data: object): Promise<void> {
    // The id is the same for all attempts, so that receivers can detect duplicates.
    const id = randomUUID();
    for (const pause of [...this.#pauses, undefined]) {
      const result = await send(
        webhook,
        readSecret,
        { id, event, data },
        { ...this.options, signal: this.#closing.signal },
      );
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
