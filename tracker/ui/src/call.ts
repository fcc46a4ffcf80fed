import type { GateResult } from "../../api/endpoints/anneal-schemas.ts";
import type { Answer, EndpointName, Request } from "../../api/endpoints/index.ts";

/*
 * Calls the tracker's endpoints by the names under which they are declared (tracker/api/endpoints), from which the types of
 * requests and answers follow. Only types are imported: what declares them is not in the pages' bundle.
 */

/** An answer that is an error; `gates` where a promotion was refused. */
export class ApiError extends Error {
  readonly status: number;
  readonly gates: GateResult[] | undefined;

  constructor(status: number, message: string, gates?: GateResult[]) {
    super(message);
    this.status = status;
    this.gates = gates;
  }
}

/** @throws ApiError for an answer that is an error */
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
    // Not one of the tracker's own answers: the status is all there is to say.
  }
  throw new ApiError(response.status, message, gates);
}

/** Where a request goes: fields of the path in the path, others in the query of a GET, else in the body. */
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

/** The address of what a GET answers with. */
export const addressOf = <N extends EndpointName & `GET ${string}`>(name: N, request: Request<N>): string =>
  place(name, request as object).url;

/** Nothing needs to be given where no field is required. */
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
