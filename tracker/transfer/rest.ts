import { Readable } from "node:stream";
import type { ReadableStream } from "node:stream/web";

/** Attempts at a request that may succeed later, and the wait after the first, in milliseconds. */
const ATTEMPTS = 5;
const FIRST_WAIT = 300;

/** The most bytes of a JSON answer: of 500 runs with many params and tags. */
const MAX_JSON = 256 * 1024 * 1024;
/** The most bytes of an error's body. */
const MAX_ERROR = 64 * 1024;
/** Pages without anything before the next. */
const MAX_EMPTY_PAGES = 100;

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
    // A server's words are printed on a terminal, which would follow the control characters in them.
    super(message.replace(/\p{Cc}/gu, " "));
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
  search<T>(path: string, name: string, body: object): AsyncGenerator<T> {
    return this.#items(path, name, (page_token) => this.post(path, { ...body, ...(page_token ? { page_token } : {}) }));
  }

  /** All items of a list that is read with GET, such as a metric's history. */
  list<T>(path: string, name: string, query: Query): AsyncGenerator<T> {
    return this.#items(path, name, (page_token) => this.get(path, { ...query, page_token }));
  }

  /** @throws if the pages have no end */
  async *#items<T>(
    path: string,
    name: string,
    next: (page_token: string | undefined) => Promise<Record<string, unknown>>,
  ): AsyncGenerator<T> {
    const tokens = new Set<string>();
    let empty = 0;
    for (let token: string | undefined; ; ) {
      const page = await next(token);
      const items: unknown = page[name] ?? [];
      if (!Array.isArray(items)) throw new RestError(`${this.#uri} says that ${name} of ${path} is not a list.`, 400);
      yield* items as T[];
      if (typeof page.next_page_token !== "string" || page.next_page_token === "") return;
      token = page.next_page_token;
      empty = items.length === 0 ? empty + 1 : 0;
      if (tokens.has(token) || empty > MAX_EMPTY_PAGES) {
        throw new RestError(`${this.#uri} gives pages of ${path} without end.`, 400);
      }
      tokens.add(token);
    }
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

  /**
   * Stores a file by the artifact proxy.
   * @param open called for each attempt
   * @throws if the path leads elsewhere, or the file has another size
   */
  async upload(path: string, size: number, open: () => Promise<Readable>): Promise<void> {
    checkFilePath(path);
    if (!Number.isSafeInteger(size) || size < 0) {
      throw new RestError(`The size of the file ${path} is announced as ${size} bytes.`, 400);
    }
    const target = `/api/2.0/mlflow-artifacts/artifacts/${path.split("/").map(encodeURIComponent).join("/")}`;
    await this.#send(target, async (fail) => {
      const content = sized(path, size, await open(), fail);
      const headers = { "content-type": "application/octet-stream", "content-length": String(size) };
      if (size > 0) return { method: "PUT", headers, body: Readable.toWeb(content) as ReadableStream, duplex: "half" };
      for await (const _ of content); // Throws if there is something.
      return { method: "PUT", headers, body: new Uint8Array(0) };
    });
  }

  async #json<T>(path: string, options: RequestInit): Promise<T> {
    const text = await textOf(await this.#send(path, options), MAX_JSON);
    try {
      const value: unknown = JSON.parse(text ?? "");
      if (typeof value === "object" && value !== null) return value as T;
    } catch {
      // The error is thrown below.
    }
    const what = text === undefined ? `an answer of more than ${MAX_JSON} bytes` : "an answer that is not JSON";
    throw new RestError(`${this.#uri} gives ${what} at ${path.split("?")[0]}.`, 400);
  }

  /** @param options a function is called for each attempt, with what tells that another would be in vain */
  async #send(
    path: string,
    options: RequestInit | ((fail: (error: RestError) => void) => Promise<RequestInit>),
  ): Promise<Response> {
    let fatal: RestError | undefined;
    const fail = (error: RestError): void => {
      fatal = error;
    };
    for (let attempt = 1; ; attempt++) {
      const init = typeof options === "function" ? await options(fail) : options;
      let failure: RestError;
      try {
        const headers = { ...init.headers, ...this.#headers };
        // Another place is not asked: it could be one that only this machine reaches.
        const answer = await fetch(this.#uri + path, { ...init, headers, redirect: "manual" });
        if (answer.ok) return answer;
        const place = answer.headers.get("location");
        if (place !== null) {
          const message = `${this.#uri} redirects to ${place.slice(0, 200)}: use the address where the tracker is.`;
          throw new RestError(message, 400);
        }
        const text = (await textOf(answer, MAX_ERROR)) ?? "a long text";
        failure = new RestError(`${this.#uri} says: ${messageOf(text)} (${answer.status})`, answer.status);
        if (![408, 429].includes(answer.status) && answer.status < 500) throw failure;
      } catch (error) {
        if (error instanceof RestError) throw error;
        if (fatal) throw fatal;
        const cause = error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error);
        failure = new RestError(`${this.#uri} does not answer (${cause}).`);
      }
      if (attempt === ATTEMPTS) throw failure;
      await new Promise((resolve) => setTimeout(resolve, FIRST_WAIT * 2 ** (attempt - 1)));
    }
  }
}

/** The text of an answer; undefined if it is longer than some bytes. */
async function textOf({ body }: Response, max: number): Promise<string | undefined> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of body ?? []) {
    size += part.length;
    if (size > max) return undefined;
    parts.push(part);
  }
  return Buffer.concat(parts).toString();
}

/** A server's name of a file becomes a part of an address, in which `..` would lead to another endpoint. */
export function checkFilePath(path: string): void {
  const parts = path.split("/");
  if (path.length > 2000 || parts.length > 100 || parts.some((part) => /^\.{0,2}$|[\p{Cc}\\]/u.test(part))) {
    throw new RestError(`The file name '${path.slice(0, 200)}' is not the path of a file.`, 400);
  }
}

/** The content of a file, as long as it has the size that was announced. */
function sized(path: string, size: number, content: Readable, fail: (error: RestError) => void): Readable {
  const wrong = (): RestError => {
    const error = new RestError(`The file ${path} does not have the ${size} bytes that were announced.`, 400);
    fail(error);
    return error;
  };
  async function* parts(): AsyncGenerator<Uint8Array> {
    let sent = 0;
    for await (const part of content as AsyncIterable<Uint8Array>) {
      sent += part.length;
      if (sent > size) throw wrong();
      yield part;
    }
    if (sent < size) throw wrong();
  }
  return Readable.from(parts(), { objectMode: false });
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
