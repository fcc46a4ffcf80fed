import { createHash } from "node:crypto";
import type { KeyValue } from "../store/types.ts";
import { type Rest, RestError } from "./rest.ts";
import {
  type LoggedModelMessage,
  proxiedPath,
  type RegisteredMessage,
  type RunMessage,
  versionsOf,
} from "./rest-source.ts";
import type {
  Source,
  SourceFile,
  SourceModel,
  SourcePoint,
  SourceRegisteredModel,
  SourceRun,
  SourceVersion,
} from "./source.ts";

/** The run that a run was made from: Anneal's tracker takes it as the run's id. */
const SOURCE_RUN = "anneal.client_id";
/** The source's id of a logged model. */
const SOURCE_MODEL = "anneal.source_model_id";
/** A digest of the source's data when the transfer was complete. */
const COMPLETE = "anneal.transferred";

/** Tags written by a transfer are not transferred again. */
const isOwn = ({ key }: KeyValue): boolean => [SOURCE_RUN, SOURCE_MODEL, COMPLETE].includes(key);
const withoutOwn = (tags: KeyValue[]): KeyValue[] => tags.filter((tag) => !isOwn(tag));

/** The data of a run or model that decides whether it is transferred again. */
export const digestOf = (it: SourceRun | SourceModel): string =>
  createHash("sha256")
    .update(JSON.stringify({ ...it, tags: withoutOwn(it.tags) }))
    .digest("hex")
    .slice(0, 32);

/** A run or logged model at the target. */
export interface Placed {
  id: string;
  artifactUri: string;
  deleted: boolean;
  /** The digest of the source's data; undefined until the transfer is complete. */
  complete: string | undefined;
}

const tagOf = (tags: KeyValue[] | undefined, key: string): string | undefined =>
  tags?.find((it) => it.key === key)?.value;

function* chunks<T>(items: readonly T[], size: number): Generator<T[]> {
  for (let at = 0; at < items.length; at += size) yield items.slice(at, at + size);
}

/** The target tracker, written to over MLflow's REST API. */
export class Target {
  readonly #rest: Rest;
  /** Called for each object that the target rejects, with the reason. */
  readonly #problem: (what: string, error: unknown) => void;

  constructor(rest: Rest, problem: (what: string, error: unknown) => void) {
    this.#rest = rest;
    this.#problem = problem;
  }

  /** Does what may be refused for good, and goes on. */
  async #try(what: string, work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof RestError) || error.status === undefined || error.status >= 500) throw error;
      this.#problem(what, error);
    }
  }

  /** Sends a list in one request or, if it is rejected, one by one, so that one bad entry does not affect the others. */
  async #each<T>(
    what: string,
    items: T[],
    name: (item: T) => string,
    send: (items: T[]) => Promise<unknown>,
  ): Promise<void> {
    for (const chunk of chunks(items, 100)) {
      try {
        await send(chunk);
      } catch (error) {
        if (!(error instanceof RestError) || error.status !== 400) throw error;
        for (const item of chunk) await this.#try(`${what} ${name(item)}`, () => send([item]));
      }
    }
  }

  /** Experiments by name, including deleted ones. */
  async experiments(): Promise<Map<string, { id: string; deleted: boolean }>> {
    const found = new Map<string, { id: string; deleted: boolean }>();
    const query = { view_type: "ALL", max_results: 1000 };
    const all = this.#rest.search<{ experiment_id: string; name: string; lifecycle_stage?: string }>(
      "experiments/search",
      "experiments",
      query,
    );
    for await (const it of all) found.set(it.name, { id: it.experiment_id, deleted: it.lifecycle_stage === "deleted" });
    return found;
  }

  async createExperiment(name: string): Promise<string> {
    return (await this.#rest.post<{ experiment_id: string }>("experiments/create", { name })).experiment_id;
  }

  async tagExperiment(experiment_id: string, tags: KeyValue[]): Promise<void> {
    for (const tag of tags) {
      await this.#try(`experiment tag ${tag.key}`, () =>
        this.#rest.post("experiments/set-experiment-tag", { experiment_id, ...tag }),
      );
    }
  }

  async setExperimentDeleted(experiment_id: string, deleted: boolean): Promise<void> {
    const way = deleted ? "delete" : "restore";
    await this.#try(`experiments/${way} of experiment ${experiment_id}`, () =>
      this.#rest.post(`experiments/${way}`, { experiment_id }),
    );
  }

  /** Runs of an experiment transferred earlier, by the source's id. */
  async runs(experimentId: string): Promise<Map<string, Placed>> {
    const found = new Map<string, Placed>();
    const query = { experiment_ids: [experimentId], run_view_type: "ALL", max_results: 500 };
    for await (const { info, data } of this.#rest.search<RunMessage>("runs/search", "runs", query)) {
      found.set(tagOf(data.tags, SOURCE_RUN) ?? info.run_id, {
        id: info.run_id,
        artifactUri: info.artifact_uri,
        deleted: info.lifecycle_stage === "deleted",
        complete: tagOf(data.tags, COMPLETE),
      });
    }
    return found;
  }

  async createRun(experiment_id: string, run: SourceRun): Promise<Placed> {
    const { info } = (
      await this.#rest.post<{ run: RunMessage }>("runs/create", {
        experiment_id,
        run_name: run.name,
        user_id: run.userId,
        start_time: run.startTime,
        tags: [{ key: SOURCE_RUN, value: run.id }],
      })
    ).run;
    return { id: info.run_id, artifactUri: info.artifact_uri, deleted: false, complete: undefined };
  }

  /** Params, tags and data sets. */
  async describeRun(run_id: string, run: SourceRun): Promise<void> {
    const send = (kind: "params" | "tags") => (items: KeyValue[]) =>
      this.#rest.post("runs/log-batch", { run_id, [kind]: items });
    const name = ({ key }: KeyValue) => `${key} of run ${run.id}`;
    await this.#each("param", run.params, name, send("params"));
    await this.#each("tag", withoutOwn(run.tags), name, send("tags"));
    await this.#each(
      "data set",
      run.datasets,
      ({ dataset }) => `${dataset.name} of run ${run.id}`,
      (datasets) => this.#rest.post("runs/log-inputs", { run_id, datasets }),
    );
  }

  /** Transfers all points of all metrics and returns their number. Existing points are not duplicated. */
  async logHistory(run_id: string, run: SourceRun, source: Source): Promise<number> {
    let count = 0;
    let waiting: SourcePoint[] = [];
    const send = async (metrics: SourcePoint[]): Promise<void> => {
      await this.#try(`${metrics.length} points of run ${run.id}`, () =>
        this.#rest.post("runs/log-batch", { run_id, metrics }),
      );
      count += metrics.length;
    };
    for (const { key } of run.metrics) {
      for await (const page of source.history(run.id, key)) {
        waiting.push(...page);
        while (waiting.length >= 1000) await send(waiting.splice(0, 1000));
      }
    }
    if (waiting.length > 0) await send(waiting);
    waiting = [];
    return count;
  }

  /** How a run ended, what it made and used, and that all of it is here. */
  async finishRun(
    placed: Placed,
    run: SourceRun,
    models: (id: string) => string | undefined,
    complete: boolean,
  ): Promise<void> {
    const run_id = placed.id;
    const used = run.inputModels.flatMap((id) => models(id) ?? []).map((model_id) => ({ model_id }));
    const made = run.outputModels.flatMap(({ modelId, step }) => {
      const model_id = models(modelId);
      return model_id ? [{ model_id, step }] : [];
    });
    if (used.length > 0) {
      await this.#try(`models that run ${run.id} used`, () =>
        this.#rest.post("runs/log-inputs", { run_id, models: used }),
      );
    }
    if (made.length > 0) {
      await this.#try(`models that run ${run.id} made`, () =>
        this.#rest.post("runs/outputs", { run_id, models: made }),
      );
    }
    const end = run.endTime === undefined ? {} : { end_time: run.endTime };
    await this.#try(`the status of run ${run.id}`, () =>
      this.#rest.post("runs/update", { run_id, status: run.status, ...end }),
    );
    if (complete) await this.#rest.post("runs/set-tag", { run_id, key: COMPLETE, value: digestOf(run) });
    // Refused for the run of a version that is in Production here.
    if (run.deleted) await this.#try(`the deletion of run ${run.id}`, () => this.setRunDeleted(run_id, true));
  }

  async setRunDeleted(run_id: string, deleted: boolean): Promise<void> {
    await this.#rest.post(deleted ? "runs/delete" : "runs/restore", { run_id });
  }

  /** Logged models of an experiment transferred earlier, by the source's id. */
  async loggedModels(experimentId: string): Promise<Map<string, Placed>> {
    const found = new Map<string, Placed>();
    const query = { experiment_ids: [experimentId], max_results: 50 };
    try {
      for await (const { info } of this.#rest.search<LoggedModelMessage>("logged-models/search", "models", query)) {
        found.set(tagOf(info.tags, SOURCE_MODEL) ?? info.model_id, {
          id: info.model_id,
          artifactUri: info.artifact_uri,
          deleted: false,
          complete: tagOf(info.tags, COMPLETE),
        });
      }
    } catch (error) {
      // A tracker before MLflow 3; creating one there says so.
      if (!(error instanceof RestError) || error.status !== 404) throw error;
    }
    return found;
  }

  async createModel(experiment_id: string, model: SourceModel, runId: string | undefined): Promise<Placed> {
    const { info } = (
      await this.#rest.post<{ model: LoggedModelMessage }>("logged-models", {
        experiment_id,
        name: model.name,
        ...(model.modelType ? { model_type: model.modelType } : {}),
        ...(runId ? { source_run_id: runId } : {}),
        params: model.params,
        tags: [...withoutOwn(model.tags), { key: SOURCE_MODEL, value: model.id }],
      })
    ).model;
    return { id: info.model_id, artifactUri: info.artifact_uri, deleted: false, complete: undefined };
  }

  /** A model's metrics, its status, and that all of it is here. */
  async finishModel(
    placed: Placed,
    model: SourceModel,
    runs: (id: string) => string | undefined,
    complete: boolean,
  ): Promise<void> {
    const byRun = new Map<string, SourceModel["metrics"]>();
    for (const metric of model.metrics) {
      const run = metric.runId === undefined ? undefined : runs(metric.runId);
      if (run !== undefined) byRun.set(run, [...(byRun.get(run) ?? []), metric]);
    }
    for (const [run_id, points] of byRun) {
      const metrics = points.map(({ runId: _, datasetName, datasetDigest, ...point }) => ({
        ...point,
        model_id: placed.id,
        ...(datasetName ? { dataset_name: datasetName, dataset_digest: datasetDigest } : {}),
      }));
      for (const chunk of chunks(metrics, 1000)) {
        await this.#try(`metrics of model ${model.id}`, () =>
          this.#rest.post("runs/log-batch", { run_id, metrics: chunk }),
        );
      }
    }
    const path = `logged-models/${placed.id}`;
    if (model.status !== "LOGGED_MODEL_PENDING") {
      await this.#try(`the status of model ${model.id}`, () =>
        this.#rest.post(path, { model_id: placed.id, status: model.status }, "PATCH"),
      );
    }
    const tags = [...withoutOwn(model.tags), ...(complete ? [{ key: COMPLETE, value: digestOf(model) }] : [])];
    if (tags.length > 0) await this.#rest.post(`${path}/tags`, { model_id: placed.id, tags }, "PATCH");
  }

  /** Paths and sizes of the files that are at the target; undefined where it hands no files on. */
  async files(artifactUri: string): Promise<Map<string, number> | undefined> {
    const root = proxiedPath(artifactUri);
    if (root === undefined) return undefined;
    const found = new Map<string, number>();
    const folders = [""];
    for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
      for (const { path, is_dir, file_size = 0 } of await this.#rest.proxied(folder ? `${root}/${folder}` : root)) {
        const whole = folder ? `${folder}/${path}` : path;
        if (is_dir) folders.push(whole);
        else found.set(whole, Number(file_size));
      }
    }
    return found;
  }

  async upload(artifactUri: string, file: SourceFile): Promise<void> {
    await this.#rest.upload(`${proxiedPath(artifactUri)}/${file.path}`, file.size, file.open);
  }

  /** A registered model with its tags; its versions follow. */
  async registerModel({ name, description, tags }: SourceRegisteredModel): Promise<void> {
    const known = await this.#rest.find<{ registered_model: RegisteredMessage }>("registered-models/get", { name });
    if (!known)
      await this.#rest.post("registered-models/create", { name, ...(description ? { description } : {}), tags });
    else for (const tag of tags) await this.#rest.post("registered-models/set-tag", { name, ...tag });
  }

  versions(name: string): Promise<SourceVersion[]> {
    return versionsOf(this.#rest, name);
  }

  /** Creates a version; its number. */
  async createVersion(name: string, version: Omit<SourceVersion, "version" | "stage">): Promise<number> {
    const { source, runId, runLink, modelId, description, tags } = version;
    const made = await this.#rest.post<{ model_version: { version: string | number } }>("model-versions/create", {
      name,
      source,
      ...(runId ? { run_id: runId } : {}),
      ...(runLink ? { run_link: runLink } : {}),
      ...(modelId ? { model_id: modelId } : {}),
      ...(description ? { description } : {}),
      tags,
    });
    return Number(made.model_version.version);
  }

  async deleteVersion(name: string, version: number): Promise<void> {
    await this.#rest.post("model-versions/delete", { name, version: String(version) }, "DELETE");
  }

  async setStage(name: string, version: number, stage: string): Promise<void> {
    await this.#try(`stage ${stage} of ${name} ${version}`, () =>
      this.#rest.post("model-versions/transition-stage", {
        name,
        version: String(version),
        stage,
        archive_existing_versions: false,
      }),
    );
  }

  async setAlias(name: string, alias: string, version: number): Promise<void> {
    await this.#try(`alias ${alias} of ${name}`, () =>
      this.#rest.post("registered-models/alias", { name, alias, version: String(version) }),
    );
  }
}
