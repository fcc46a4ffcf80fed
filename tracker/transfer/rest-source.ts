import type { KeyValue } from "../store/types.ts";
import { checkFilePath, type Rest, RestError } from "./rest.ts";
import type {
  Source,
  SourceDataset,
  SourceFile,
  SourceModel,
  SourcePoint,
  SourceRegisteredModel,
  SourceRun,
  SourceVersion,
} from "./source.ts";

/* The protocol's messages, as far as they are read. Integers of 64 bits may come as text. */
type Int = number | string;

interface ExperimentMessage {
  experiment_id: string;
  name: string;
  lifecycle_stage?: string;
  tags?: KeyValue[];
}
interface PointMessage {
  key: string;
  value: number | string;
  timestamp: Int;
  step?: Int;
}
export interface RunMessage {
  info: {
    run_id: string;
    run_name?: string;
    user_id?: string;
    status: string;
    start_time: Int;
    end_time?: Int;
    lifecycle_stage?: string;
    artifact_uri: string;
    experiment_id: string;
  };
  data: { metrics?: PointMessage[]; params?: KeyValue[]; tags?: KeyValue[] };
  inputs?: { dataset_inputs?: { dataset: SourceDataset; tags?: KeyValue[] }[]; model_inputs?: { model_id: string }[] };
  outputs?: { model_outputs?: { model_id: string; step?: Int }[] };
}
export interface LoggedModelMessage {
  info: {
    model_id: string;
    name?: string;
    model_type?: string;
    source_run_id?: string;
    status?: string;
    artifact_uri: string;
    tags?: KeyValue[];
  };
  data?: {
    params?: KeyValue[];
    metrics?: (PointMessage & { run_id?: string; dataset_name?: string; dataset_digest?: string })[];
  };
}
export interface VersionMessage {
  version: Int;
  source?: string;
  run_id?: string;
  run_link?: string;
  model_id?: string;
  description?: string;
  current_stage?: string;
  tags?: KeyValue[];
}
export interface RegisteredMessage {
  name: string;
  description?: string;
  tags?: KeyValue[];
  aliases?: { alias: string; version: Int }[];
}

const point = ({ key, value, timestamp, step = 0 }: PointMessage): SourcePoint => ({
  key,
  value,
  timestamp: Number(timestamp),
  step: Number(step),
});

/** Empty where the protocol leaves out what is not set, or writes it as empty text. */
const filled = (text: string | undefined): string | undefined => text || undefined;

function toRun({ info, data, inputs, outputs }: RunMessage): SourceRun {
  return {
    id: info.run_id,
    name: info.run_name ?? "",
    userId: info.user_id ?? "",
    status: info.status,
    startTime: Number(info.start_time),
    endTime: info.end_time === undefined ? undefined : Number(info.end_time),
    deleted: info.lifecycle_stage === "deleted",
    artifactUri: info.artifact_uri,
    params: data.params ?? [],
    tags: data.tags ?? [],
    metrics: (data.metrics ?? []).map(point),
    datasets: (inputs?.dataset_inputs ?? []).map(({ dataset, tags = [] }) => ({ dataset, tags })),
    inputModels: (inputs?.model_inputs ?? []).map(({ model_id }) => model_id),
    outputModels: (outputs?.model_outputs ?? []).map(({ model_id, step = 0 }) => ({
      modelId: model_id,
      step: Number(step),
    })),
  };
}

const toModel = ({ info, data }: LoggedModelMessage): SourceModel => ({
  id: info.model_id,
  name: info.name ?? "",
  modelType: filled(info.model_type),
  sourceRunId: filled(info.source_run_id),
  status: String(info.status ?? "LOGGED_MODEL_READY"),
  artifactUri: info.artifact_uri,
  tags: info.tags ?? [],
  params: data?.params ?? [],
  metrics: (data?.metrics ?? []).map((it) => ({
    ...point(it),
    runId: filled(it.run_id),
    ...(it.dataset_name ? { datasetName: it.dataset_name } : {}),
    ...(it.dataset_digest ? { datasetDigest: it.dataset_digest } : {}),
  })),
});

const toVersion = (it: VersionMessage): SourceVersion => ({
  version: Number(it.version),
  source: it.source ?? "",
  runId: filled(it.run_id),
  runLink: filled(it.run_link),
  modelId: filled(it.model_id),
  description: filled(it.description),
  stage: it.current_stage ?? "None",
  tags: it.tags ?? [],
});

/** A tracker that is read over its REST API. */
export function restSource(rest: Rest): Source {
  /** Files in a tree of folders that are listed one at a time; `path` of what is listed is from the tree's root on. */
  async function* walk(
    list: (folder: string) => Promise<{ path: string; is_dir: boolean; file_size?: Int }[]>,
    open: (path: string) => SourceFile["open"],
  ): AsyncGenerator<SourceFile> {
    const folders = [""];
    for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
      for (const { path, is_dir, file_size = 0 } of await list(folder)) {
        checkFilePath(path);
        // Otherwise, a folder could be in itself.
        if (folder !== "" && !path.startsWith(`${folder}/`)) {
          throw new RestError(`The tracker lists '${path.slice(0, 200)}' in the folder '${folder}'.`, 400);
        }
        if (is_dir) folders.push(path);
        else yield { path, size: Number(file_size), open: open(path) };
      }
    }
  }

  return {
    async *experiments() {
      const found = rest.search<ExperimentMessage>("experiments/search", "experiments", {
        view_type: "ALL",
        max_results: 1000,
        // The oldest first: what is added meanwhile does not move the pages.
        order_by: ["creation_time ASC"],
      });
      for await (const { experiment_id, name, lifecycle_stage, tags = [] } of found) {
        yield { id: experiment_id, name, deleted: lifecycle_stage === "deleted", tags };
      }
    },

    async *runs(experimentId) {
      const query = {
        experiment_ids: [experimentId],
        run_view_type: "ALL",
        max_results: 500,
        order_by: ["attributes.start_time ASC"],
      };
      for await (const run of rest.search<RunMessage>("runs/search", "runs", query)) yield toRun(run);
    },

    async *history(runId, key) {
      const query = { run_id: runId, run_uuid: runId, metric_key: key, max_results: "20000" };
      let points: SourcePoint[] = [];
      for await (const it of rest.list<PointMessage>("metrics/get-history", "metrics", query)) {
        points.push(point(it));
        if (points.length < 1000) continue;
        yield points;
        points = [];
      }
      yield points;
    },

    async *loggedModels(experimentId) {
      const query = { experiment_ids: [experimentId], max_results: 50 };
      try {
        const found = rest.search<LoggedModelMessage>("logged-models/search", "models", query);
        for await (const model of found) yield toModel(model);
      } catch (error) {
        // Before MLflow 3 there were none.
        if (!(error instanceof Error && "status" in error && error.status === 404)) throw error;
      }
    },

    async *registeredModels() {
      const found = rest.list<RegisteredMessage>("registered-models/search", "registered_models", {
        max_results: "100",
      });
      for await (const { name, description, tags = [], aliases = [] } of found) {
        const versions = await versionsOf(rest, name);
        yield {
          name,
          description: filled(description),
          tags,
          aliases: aliases.map(({ alias, version }) => ({ alias, version: Number(version) })),
          versions,
        } satisfies SourceRegisteredModel;
      }
    },

    async *files({ artifactUri, runId }) {
      if (runId !== undefined) {
        // The tracker fetches what is asked for from wherever the run's files lie.
        const list = async (path: string) => {
          const query = { run_id: runId, run_uuid: runId, ...(path ? { path } : {}) };
          return (await rest.get<{ files?: [] }>("artifacts/list", query)).files ?? [];
        };
        const address = (path: string) =>
          `/get-artifact?${new URLSearchParams({ run_id: runId, run_uuid: runId, path })}`;
        yield* walk(list, (path) => () => rest.download(address(path)));
        return;
      }
      const root = proxiedPath(artifactUri);
      if (root === undefined) throw new Error(`files at ${artifactUri} are not to be had through the tracker`);
      const list = async (folder: string) =>
        (await rest.proxied(folder ? `${root}/${folder}` : root)).map((it) => ({
          ...it,
          path: folder ? `${folder}/${it.path}` : it.path,
        }));
      const encoded = (path: string) => `${root}/${path}`.split("/").map(encodeURIComponent).join("/");
      yield* walk(list, (path) => () => rest.download(`/api/2.0/mlflow-artifacts/artifacts/${encoded(path)}`));
    },

    async close() {},
  };
}

/** All versions of a registered model, by number. */
export async function versionsOf(rest: Rest, name: string): Promise<SourceVersion[]> {
  const versions: SourceVersion[] = [];
  const query = { filter: `name='${name.replaceAll("'", "''")}'`, max_results: "1000" };
  const found = rest.list<VersionMessage>("model-versions/search", "model_versions", query);
  for await (const version of found) versions.push(toVersion(version));
  return versions.sort((a, b) => a.version - b.version);
}

/** The path of `mlflow-artifacts:/...` below the proxy's root; undefined for what the tracker does not hand on. */
export function proxiedPath(uri: string): string | undefined {
  return /^mlflow-artifacts:(?:\/\/[^/]*)?\/*(.*?)\/*$/.exec(uri)?.[1];
}
