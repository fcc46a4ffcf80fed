import { Readable } from "node:stream";
import type { ReadableStream } from "node:stream/web";

/** Attempts at a request that may succeed later, and the wait after the first, in milliseconds. */
const ATTEMPTS = 5;
const FIRST_WAIT = 300;

/** A tracker with MLflow's REST API. */
export interface Address {
  /** Such as https://tracker.example. */
  uri: string;
  /** Sent as a Bearer token. */
  token?: string;
}

/** An error response, or no response. */
export class RestError extends Error {
  /** The HTTP status; undefined if there was no response. */
  readonly status: number | undefined;

  constructor(message: string, status?: number) {
    super(message);
    this.name = "RestError";
    this.status = status;
  }
}

type Query = Record<string, string | undefined>;

/** A client for MLflow's REST API. Retries transient failures. */
export class Rest {
  readonly #uri: string;
  readonly #headers: Record<string, string>;

  /** @param address.uri may carry a user and a password, which are sent as Basic authentication */
  constructor({ uri, token }: Address) {
    const url = new URL(uri);
    const basic = url.username
      ? `Basic ${Buffer.from(`${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`).toString("base64")}`
      : undefined;
    url.username = "";
    url.password = "";
    this.#uri = url.href.replace(/\/+$/, "");
    const authorization = token ? `Bearer ${token}` : basic;
    this.#headers = authorization ? { authorization } : {};
  }

  /** Without what only its owner may know. */
  get uri(): string {
    return this.#uri;
  }

  get<T>(path: string, query: Query = {}): Promise<T> {
    const set = Object.entries(query).filter((it): it is [string, string] => it[1] !== undefined);
    return this.#json(`/api/2.0/mlflow/${path}?${new URLSearchParams(set)}`, { method: "GET" });
  }

  post<T>(path: string, body: object, method = "POST"): Promise<T> {
    const headers = { "content-type": "application/json" };
    return this.#json(`/api/2.0/mlflow/${path}`, { method, headers, body: JSON.stringify(body) });
  }

  /** The response to a GET, or undefined if the resource does not exist. */
  async find<T>(path: string, query: Query): Promise<T | undefined> {
    try {
      return await this.get<T>(path, query);
    } catch (error) {
      if (error instanceof RestError && error.status === 404) return undefined;
      throw error;
    }
  }

  /** All items of a paginated search. */
  async *search<T>(path: string, name: string, body: object): AsyncGenerator<T> {
    let page_token: string | undefined;
    do {
      const page = await this.post<Record<string, unknown>>(path, { ...body, ...(page_token ? { page_token } : {}) });
      yield* (page[name] ?? []) as T[];
      page_token = typeof page.next_page_token === "string" && page.next_page_token ? page.next_page_token : undefined;
    } while (page_token !== undefined);
  }

  /** A folder of the artifact proxy; paths are relative to it. */
  async proxied(path: string): Promise<{ path: string; is_dir: boolean; file_size?: number | string }[]> {
    const query = new URLSearchParams({ path });
    const { files = [] } = await this.#json<{ files?: [] }>(`/api/2.0/mlflow-artifacts/artifacts?${query}`, {});
    return files;
  }

  /** The content of any path and query. */
  async download(path: string): Promise<Readable> {
    const { body } = await this.#send(path, {});
    return body ? Readable.fromWeb(body as ReadableStream) : Readable.from([]);
  }

  /** Stores a file by the artifact proxy. @param open called for each attempt */
  async upload(path: string, size: number, open: () => Promise<Readable>): Promise<void> {
    const target = `/api/2.0/mlflow-artifacts/artifacts/${path.split("/").map(encodeURIComponent).join("/")}`;
    await this.#send(target, async () => ({
      method: "PUT",
      headers: { "content-type": "application/octet-stream", "content-length": String(size) },
      body: size === 0 ? new Uint8Array(0) : (Readable.toWeb(await open()) as ReadableStream),
      duplex: "half",
    }));
  }

  async #json<T>(path: string, options: RequestInit): Promise<T> {
    return (await (await this.#send(path, options)).json()) as T;
  }

  async #send(path: string, options: RequestInit | (() => Promise<RequestInit>)): Promise<Response> {
    for (let attempt = 1; ; attempt++) {
      const init = typeof options === "function" ? await options() : options;
      let failure: RestError;
      try {
        const answer = await fetch(this.#uri + path, { ...init, headers: { ...init.headers, ...this.#headers } });
        if (answer.ok) return answer;
        failure = new RestError(
          `${this.#uri} says: ${messageOf(await answer.text())} (${answer.status})`,
          answer.status,
        );
        if (![408, 429].includes(answer.status) && answer.status < 500) throw failure;
      } catch (error) {
        if (error instanceof RestError) throw error;
        const cause = error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error);
        failure = new RestError(`${this.#uri} does not answer (${cause}).`);
      }
      if (attempt === ATTEMPTS) throw failure;
      await new Promise((resolve) => setTimeout(resolve, FIRST_WAIT * 2 ** (attempt - 1)));
    }
  }
}

/** What an error's body says, in MLflow's form or any. */
function messageOf(text: string): string {
  try {
    const body: unknown = JSON.parse(text);
    if (typeof body === "object" && body !== null && "message" in body) return String(body.message).slice(0, 500);
  } catch {
    // Not one of a tracker's.
  }
  return text.slice(0, 200);
}
