import { type Caller, pairs, type SearchOptions, search, type Texts, type ViewType } from "./caller.ts";
import type { Dataset, FileInfo, Metric, Run, RunInfo } from "./types.ts";

/** A metric value to log; `step` counts from 0, `timestamp` is in milliseconds since 1970. */
export interface RunPoint {
  key: string;
  value: number;
  step?: number;
  timestamp?: number;
}

/** A batch to log: up to 1000 metrics, 100 parameters and 100 tags, 1000 in total. */
export interface RunBatch {
  metrics?: readonly RunPoint[];
  params?: Texts;
  tags?: Texts;
}

/**
 * Runs of a tracker. To log from a process that trains, use {@link startRun} instead, which loses no data when the tracker
 * is unavailable.
 *
 * @example
 * const { info } = await client.runs.create(experimentId, { name: "by hand" });
 * await client.runs.log(info.run_id, { params: { lr: "0.1" }, metrics: [{ key: "loss", value: 0.5, step: 1 }] });
 * await client.runs.update(info.run_id, { status: "FINISHED" });
 * for await (const run of client.runs.search([experimentId], { filter: "metrics.loss < 1" })) console.log(run.info.run_name);
 */
export class Runs {
  readonly #caller: Caller;

  constructor(caller: Caller) {
    this.#caller = caller;
  }

  /** @param options.startTime milliseconds since 1970; default: now */
  async create(
    experiment_id: string,
    { name, tags, startTime = Date.now() }: { name?: string; tags?: Texts; startTime?: number } = {},
  ): Promise<Run> {
    const message = { experiment_id, run_name: name, start_time: startTime, tags: pairs(tags) };
    return (await this.#caller.call<{ run: Run }>("POST", "runs/create", message)).run;
  }

  /** Returns a run with the latest value of each of its metrics. */
  async get(run_id: string): Promise<Run> {
    return (await this.#caller.call<{ run: Run }>("GET", "runs/get", { run_id })).run;
  }

  /**
   * Updates a run's status or name.
   * @param changes.endTime milliseconds since 1970; default: now, if the status is final
   */
  async update(
    run_id: string,
    { status, name, endTime }: { status?: RunInfo["status"]; name?: string; endTime?: number },
  ): Promise<RunInfo> {
    const ends = status === "FINISHED" || status === "FAILED" || status === "KILLED";
    const end_time = endTime ?? (ends ? Date.now() : undefined);
    const message = { run_id, status, run_name: name, ...(end_time === undefined ? {} : { end_time }) };
    return (await this.#caller.call<{ run_info: RunInfo }>("POST", "runs/update", message)).run_info;
  }

  search(
    experiment_ids: readonly string[],
    { orderBy, view = "ACTIVE_ONLY", ...options }: SearchOptions & { view?: ViewType } = {},
  ) {
    const message = { ...options, experiment_ids, order_by: orderBy, run_view_type: view };
    return search<Run>(this.#caller, "runs/search", "runs", message);
  }

  /** Logs a batch. Logging the same values again has no effect. */
  async log(run_id: string, { metrics = [], params, tags }: RunBatch): Promise<void> {
    const now = Date.now();
    const points = metrics.map(({ value, step = 0, timestamp = now, ...point }) => ({
      ...point,
      step,
      timestamp,
      value: Number.isFinite(value) ? value : String(value),
    }));
    await this.#caller.call("POST", "runs/log-batch", {
      run_id,
      metrics: points,
      params: pairs(params),
      tags: pairs(tags),
    });
  }

  /** Logs a data set that a run uses, and its purpose: train, eval, test. */
  async logInput(run_id: string, dataset: Dataset, context: string): Promise<void> {
    const tags = [{ key: "mlflow.data.context", value: context }];
    await this.#caller.call("POST", "runs/log-inputs", { run_id, datasets: [{ dataset, tags }] });
  }

  async deleteTag(run_id: string, key: string): Promise<void> {
    await this.#caller.call("POST", "runs/delete-tag", { run_id, key });
  }

  /** Returns all points of a metric, by step. */
  history(run_id: string, metric_key: string) {
    return search<Metric>(this.#caller, "metrics/get-history", "metrics", { run_id, metric_key }, "GET", 25_000);
  }

  /** Returns a run's artifacts in a folder, by default the root. */
  async artifacts(run_id: string, path?: string): Promise<FileInfo[]> {
    const message = { run_id, ...(path === undefined ? {} : { path }) };
    return (await this.#caller.call<{ files?: FileInfo[] }>("GET", "artifacts/list", message)).files ?? [];
  }

  /** Deletes the run; see {@link restore}. */
  async delete(run_id: string): Promise<void> {
    await this.#caller.call("POST", "runs/delete", { run_id });
  }

  async restore(run_id: string): Promise<void> {
    await this.#caller.call("POST", "runs/restore", { run_id });
  }
}
