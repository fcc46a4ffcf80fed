/** Sends requests for the parts of the client. */
export interface Caller {
  /** Calls `/api/2.0/mlflow/<path>` with a message. */
  call<T>(method: "GET" | "POST" | "PATCH" | "DELETE", path: string, message?: object): Promise<T>;
}

/** Whether a search includes deleted items. */
export type ViewType = "ACTIVE_ONLY" | "DELETED_ONLY" | "ALL";

/** Options of a search. */
export interface SearchOptions {
  /** Filter in MLflow's syntax, such as `metrics.loss < 0.5 AND params.lr = '0.1'`. */
  filter?: string;
  /** Order, such as `["metrics.loss ASC"]`. */
  orderBy?: readonly string[];
  /** Maximum number of results; default: all. */
  limit?: number;
}

/** Names and values, as a record. */
export type Texts = Readonly<Record<string, string>>;

/** Converts a record to the protocol's key-value list. */
export const pairs = (texts: Texts = {}): { key: string; value: string }[] =>
  Object.entries(texts).map(([key, value]) => ({ key, value }));

/** Yields the results of a search; pages are fetched as needed. */
export async function* search<T>(
  caller: Caller,
  path: string,
  field: string,
  { limit = Number.POSITIVE_INFINITY, ...message }: { limit?: number } & Record<string, unknown>,
  method: "GET" | "POST" = "POST",
  pageSize = 1000,
): AsyncGenerator<T> {
  let left = limit;
  for (let token: string | undefined; left > 0; ) {
    const page = await caller.call<{ next_page_token?: string } & Record<string, unknown>>(method, path, {
      ...message,
      max_results: Math.min(left, pageSize),
      ...(token === undefined ? {} : { page_token: token }),
    });
    const items = (page[field] ?? []) as T[];
    yield* items.slice(0, left);
    left -= items.length;
    token = page.next_page_token;
    if (!token) return;
  }
}
