import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Experiments } from "./api/experiments.ts";
import { LoggedModels, Models } from "./api/models.ts";
import { Runs } from "./api/runs.ts";
import { TrackerError } from "./error.ts";
import { dataFolder } from "./folder.ts";
import { uploadFile } from "./upload.ts";

/** Timeout for a response, in milliseconds. */
const defaultTimeout = 60_000;

/** Address of a tracker. */
export interface TrackerAddress {
  /** Without trailing slash; requests go to `<uri>/api/2.0/mlflow/...`. */
  uri: string;
  token?: string;
}

/**
 * Returns the tracker to log to: ANNEAL_TRACKER_URI or MLFLOW_TRACKING_URI with their tokens, else the studio that runs on
 * the data folder. The studio's port may change on restart, so call this again after a failure.
 * @param folder the data folder; default: {@link dataFolder}
 */
export async function findTracker(folder = dataFolder()): Promise<TrackerAddress | undefined> {
  const { ANNEAL_TRACKER_URI, ANNEAL_TOKEN, MLFLOW_TRACKING_URI, MLFLOW_TRACKING_TOKEN } = process.env;
  const clean = (uri: string) => uri.replace(/\/+$/, "");
  if (ANNEAL_TRACKER_URI) return { uri: clean(ANNEAL_TRACKER_URI), token: ANNEAL_TOKEN };
  if (MLFLOW_TRACKING_URI) return { uri: clean(MLFLOW_TRACKING_URI), token: MLFLOW_TRACKING_TOKEN };
  const text = await readFile(join(folder, "studio.json"), "utf8").catch(() => undefined);
  if (text === undefined) return undefined;
  const { url, token } = JSON.parse(text) as { url: string; token?: string };
  return { uri: clean(url), token };
}

/** Encodes fields as a query; lists repeat the field. */
function queryOf(fields: object): URLSearchParams {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(fields)) {
    for (const one of [value].flat()) if (one !== undefined) query.append(name, String(one));
  }
  return query;
}

/**
 * Client of MLflow's REST API, for Anneal's tracker or any MLflow server.
 *
 * @example
 * const client = await TrackerClient.connect();
 * const { experiment_id } = await client.experiments.getByName("01-fine-tune");
 * for await (const run of client.runs.search([experiment_id], { orderBy: ["metrics.`eval/loss` ASC"], limit: 3 })) {
 *   console.log(run.info.run_name, run.data.params);
 * }
 */
export class TrackerClient {
  readonly address: TrackerAddress;
  readonly experiments: Experiments;
  /** Runs, with their metrics, parameters, tags, inputs and artifacts. */
  readonly runs: Runs;
  /** Registered models, with their versions, aliases and stages. */
  readonly models: Models;
  readonly loggedModels: LoggedModels;

  constructor(address: TrackerAddress) {
    this.address = address;
    this.experiments = new Experiments(this);
    this.runs = new Runs(this);
    this.models = new Models(this);
    this.loggedModels = new LoggedModels(this);
  }

  /** Connects to the tracker of {@link findTracker}. */
  static async connect(): Promise<TrackerClient> {
    const address = await findTracker();
    if (!address) {
      throw new TrackerError(
        "There is no tracker. Start the studio (`npm start`) or set ANNEAL_TRACKER_URI.",
        "UNREACHABLE",
        true,
      );
    }
    return new TrackerClient(address);
  }

  /** Calls `/api/2.0/mlflow/<path>`; the body is a value, or JSON as bytes. */
  async call<T = Record<string, unknown>>(
    method: "GET" | "POST" | "PATCH" | "DELETE",
    path: string,
    body?: object,
  ): Promise<T> {
    const query = method === "GET" && body ? `?${queryOf(body)}` : "";
    return this.request<T>(method, `/api/2.0/mlflow/${path}${query}`, method === "GET" ? undefined : body);
  }

  /** Calls any path with a JSON body, given as a value or as bytes. `timeout` is in milliseconds. */
  async request<T>(method: string, path: string, body?: object, timeout = defaultTimeout): Promise<T> {
    const options = {
      method,
      headers: body ? { "content-type": "application/json" } : undefined,
      body: body && (body instanceof Uint8Array ? body : JSON.stringify(body)),
    };
    return this.answerTo<T>(`${method} ${path}`, await this.fetch(path, options, timeout));
  }

  /** Uploads a file as a run's artifact. */
  async uploadArtifact(experimentId: string, runId: string, path: string, file: string): Promise<void> {
    await uploadFile(this, `${experimentId}/${runId}/artifacts/${path}`, file);
  }

  /** Downloads a run's artifact. */
  async downloadArtifact(runId: string, path: string): Promise<Uint8Array> {
    const response = await this.fetch(`/get-artifact?${new URLSearchParams({ run_id: runId, path })}`, {});
    return new Uint8Array(await response.arrayBuffer());
  }

  /** Returns the JSON of a response; a request counts as done only with it. */
  async answerTo<T>(request: string, response: Response): Promise<T> {
    try {
      return (await response.json()) as T;
    } catch (error) {
      // The connection broke during the response, or a proxy responded instead of the tracker.
      const reason = error instanceof Error ? error.message : String(error);
      const message = `The tracker at ${this.address.uri} sent an incomplete response to ${request} (${reason}).`;
      throw new TrackerError(message, "UNREACHABLE", true);
    }
  }

  /**
   * Sends any request, with the token.
   * @param timeout milliseconds
   * @throws TrackerError for every response that is not a success
   */
  async fetch(path: string, options: RequestInit, timeout = defaultTimeout): Promise<Response> {
    const { uri, token } = this.address;
    const headers = { ...options.headers, ...(token ? { authorization: `Bearer ${token}` } : {}) };
    let response: Response;
    try {
      response = await fetch(uri + path, { ...options, headers, signal: AbortSignal.timeout(timeout) });
    } catch (error) {
      const cause = error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error);
      throw new TrackerError(`The tracker at ${uri} does not respond (${cause}).`, "UNREACHABLE", true);
    }
    if (response.ok) return response;
    const text = await response.text();
    let [code, message]: [string | undefined, string] = [undefined, text.slice(0, 300)];
    try {
      ({ error_code: code, message = message } = JSON.parse(text));
    } catch {
      // Not an MLflow error, but for example a proxy's: the text is used as it is.
    }
    const { status } = response;
    // Temporary: a wrong token can be corrected, and a proxy may reject requests for a while. A missing page may come from
    // another program that uses the port of a stopped tracker.
    const isOtherServer = (status === 404 || status === 405) && code === undefined;
    const temporary = [401, 403, 408, 429].includes(status) || status >= 500 || isOtherServer;
    const wait = 1000 * Number(response.headers.get("retry-after") ?? Number.NaN);
    const retryAfter = wait > 0 ? wait : undefined;
    throw new TrackerError(`${message} (${status})`, code ?? "INTERNAL_ERROR", temporary, status, retryAfter);
  }
}
