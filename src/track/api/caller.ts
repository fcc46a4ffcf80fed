/** What the parts of the client ask with. */
export interface Caller {
  /** Calls `/api/2.0/mlflow/<path>` with a message. */
  call<T>(method: "GET" | "POST" | "PATCH" | "DELETE", path: string, message?: object): Promise<T>;
}

/** Which of what can be hidden is looked at. */
export type ViewType = "ACTIVE_ONLY" | "DELETED_ONLY" | "ALL";

/** What a search looks for. */
export interface SearchOptions {
  /** In MLflow's language, such as `metrics.loss < 0.5 AND params.lr = '0.1'`. */
  filter?: string;
  /** Such as `["metrics.loss ASC"]`. */
  orderBy?: readonly string[];
  /** Found at most; all when left out. */
  limit?: number;
}

/** Names and texts, as a record. */
export type Texts = Readonly<Record<string, string>>;

/** A record as the protocol writes it. */
export const pairs = (texts: Texts = {}): { key: string; value: string }[] =>
  Object.entries(texts).map(([key, value]) => ({ key, value }));

/** Found things of a search, one after the other; pages are asked for as they are needed. */
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
