import type { GateResult } from "../../api/endpoints/anneal-schemas.ts";
import type { Answer, EndpointName, Request } from "../../api/endpoints/index.ts";

/*
 * Calls the tracker's endpoints by the names under which they are declared (tracker/api/endpoints), from which the types of
 * requests and answers follow. Only types are imported: what declares them is not in the pages' bundle.
 */

/** An error response; `gates` is set if a promotion was rejected. */
export class ApiError extends Error {
  readonly status: number;
  readonly gates: GateResult[] | undefined;

  constructor(status: number, message: string, gates?: GateResult[]) {
    super(message);
    this.status = status;
    this.gates = gates;
  }
}

/** @throws ApiError for an error response */
export async function fail(response: Response): Promise<never> {
  if (response.status === 401) {
    throw new ApiError(
      401,
      "The tracker wants its token. Open the address that it printed when it started, with ?token=... at its end.",
    );
  }
  let message = `${response.status} ${response.statusText}`;
  let gates: GateResult[] | undefined;
  try {
    const body = (await response.json()) as { message?: string; gates?: GateResult[] };
    message = body.message ?? message;
    gates = body.gates;
  } catch {
    // Not a response from the tracker: only the status is available.
  }
  throw new ApiError(response.status, message, gates);
}

/** Builds a request: path parameters go in the path, other fields in the query (GET) or the body. */
function place(name: EndpointName, request: object): { method: string; url: string; body?: string } {
  const [method = "", path = ""] = name.split(" ");
  const fields = new Map(Object.entries(request).filter(([, value]) => value !== undefined));
  const url = path.replace(/:(\w+)/g, (_, field: string) => {
    const value = fields.get(field);
    fields.delete(field);
    return encodeURIComponent(String(value));
  });
  if (fields.size === 0) return { method, url };
  if (method !== "GET") return { method, url, body: JSON.stringify(Object.fromEntries(fields)) };
  const query = new URLSearchParams();
  for (const [field, value] of fields) for (const one of [value].flat()) query.append(field, String(one));
  return { method, url: `${url}?${query}` };
}

/** The URL of a GET request. */
export const addressOf = <N extends EndpointName & `GET ${string}`>(name: N, request: Request<N>): string =>
  place(name, request as object).url;

/** The argument is optional if no field is required. */
type Fields<N extends EndpointName> = Record<never, never> extends Request<N> ? [Request<N>?] : [Request<N>];

/**
 * Calls an endpoint.
 * @throws ApiError
 * @example const { run } = await call("GET /api/2.0/mlflow/runs/get", { run_id });
 */
export async function call<N extends EndpointName>(name: N, ...[request]: Fields<N>): Promise<Answer<N>> {
  const { method, url, body } = place(name, (request ?? {}) as object);
  let response: Response;
  try {
    response = await fetch(url, {
      method,
      ...(body === undefined ? {} : { body, headers: { "content-type": "application/json" } }),
    });
  } catch {
    throw new ApiError(0, "The tracker does not answer. Is it still running?");
  }
  return response.ok ? ((await response.json()) as Answer<N>) : fail(response);
}
