// What the pages ask of the tracker. Shapes are those of its API; fields that it leaves out are optional.
import type {
  DatasetInput,
  FileInfo,
  KeyValue,
  LoggedModel,
  ModelVersion,
  MetricValue as Num,
  RunMetric as Point,
  RegisteredModel,
  Run,
  RunInfo,
  Experiment as StoredExperiment,
} from "./types.ts";

export type { MetricValue as Num, RunMetric as Point } from "./types.ts";
export type { DatasetInput, FileInfo, KeyValue, LoggedModel, ModelVersion, RegisteredModel, Run, RunInfo };

/** An experiment, with how many runs it has. */
export interface Experiment extends StoredExperiment {
  runs: number;
}

export interface ModelRef {
  name: string;
  version: string;
  stage: string;
}

export interface RunRow extends RunInfo {
  metrics: Record<string, Num>;
  params: Record<string, string>;
  tags: Record<string, string>;
  models: ModelRef[];
}

export type GateOperator = "<" | "<=" | ">" | ">=";

export interface Gate {
  metric: string;
  op: GateOperator;
  bound?: number;
  versus?: "production";
}

export interface GateResult extends Gate {
  value: Num | null;
  against: Num | null;
  passed: boolean;
  why: string;
}

export interface StageChange {
  version: number;
  from: string;
  to: string;
  who: string;
  at: number;
  comment: string | null;
  gates: GateResult[];
}

export const CARD_FIELDS = [
  { field: "intended_use", title: "Intended use", ask: "Who should use this model, and for what?" },
  { field: "out_of_scope_use", title: "Out-of-scope use", ask: "What must this model not be used for?" },
  { field: "limitations", title: "Limitations", ask: "Where does it fail, and what biases is it known to have?" },
  {
    field: "ethical_considerations",
    title: "Ethical considerations",
    ask: "Who could be harmed, and what was done about it?",
  },
  { field: "license", title: "License", ask: "Under which licence may the model be used? For example Apache-2.0." },
  { field: "contact", title: "Contact", ask: "Whom to ask about this model?" },
] as const;
export type CardField = (typeof CARD_FIELDS)[number]["field"];

export interface Card {
  markdown: string;
  missing: CardField[];
  statements: Partial<Record<CardField, { value: string; who: string; at: number }>>;
}

/** An answer that says no; `gates` where a promotion was refused. */
export class ApiError extends Error {
  readonly status: number;
  readonly gates: GateResult[] | undefined;

  constructor(status: number, message: string, gates?: GateResult[]) {
    super(message);
    this.status = status;
    this.gates = gates;
  }
}

async function fail(response: Response): Promise<never> {
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

export async function send<T>(method: string, url: string, body?: object): Promise<T> {
  let response: Response;
  try {
    response = await fetch(url, {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
    });
  } catch {
    throw new ApiError(0, "The tracker does not answer. Is it still running?");
  }
  return response.ok ? ((await response.json()) as T) : fail(response);
}

const MLFLOW = "/ajax-api/2.0/mlflow";
const ANNEAL = "/api/anneal";
const part = encodeURIComponent;

function query(fields: Record<string, string | string[] | undefined>): string {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(fields)) {
    for (const one of Array.isArray(value) ? value : value === undefined ? [] : [value]) search.append(key, one);
  }
  return `?${search}`;
}

export interface TableRequest {
  experiment_ids: string[];
  filter: string;
  order_by: string[];
  offset: number;
  limit: number;
  metrics: string[];
  params: string[];
  tags: string[];
}

export const api = {
  experiments: () => send<{ experiments: Experiment[] }>("GET", `${ANNEAL}/experiments`),
  keys: (ids: string[]) =>
    send<{ metrics: string[]; params: string[] }>("GET", `${ANNEAL}/experiments/keys${query({ experiment_ids: ids })}`),
  table: (body: TableRequest) => send<{ total: number; rows: RunRow[] }>("POST", `${ANNEAL}/runs/table`, body),

  run: async (id: string) => (await send<{ run: Run }>("GET", `${MLFLOW}/runs/get${query({ run_id: id })}`)).run,
  renameRun: (run_id: string, run_name: string) => send("POST", `${MLFLOW}/runs/update`, { run_id, run_name }),
  deleteRun: (run_id: string) => send("POST", `${MLFLOW}/runs/delete`, { run_id }),
  restoreRun: (run_id: string) => send("POST", `${MLFLOW}/runs/restore`, { run_id }),
  samples: async (run_ids: string[], metric_key: string, count = 800) =>
    (
      await send<{ metrics: Point[] }>(
        "GET",
        `${MLFLOW}/metrics/get-history-bulk-interval${query({ run_ids, metric_key, max_results: String(count) })}`,
      )
    ).metrics,
  files: async (run_id: string, path?: string) =>
    (await send<{ files?: FileInfo[] }>("GET", `${MLFLOW}/artifacts/list${query({ run_id, path })}`)).files ?? [],
  fileUrl: (run_id: string, path: string) => `/get-artifact${query({ run_id, path })}`,
  /** A file's text, or its first bytes where it is longer. */
  text: async (run_id: string, path: string, limit = 2_000_000) => {
    const response = await fetch(api.fileUrl(run_id, path), { headers: { range: `bytes=0-${limit - 1}` } });
    // An empty file has no first byte to ask for.
    if (response.status === 416) return "";
    return response.ok ? response.text() : fail(response);
  },

  models: async () =>
    (
      await send<{ registered_models?: RegisteredModel[] }>(
        "GET",
        `${MLFLOW}/registered-models/search${query({ max_results: "1000", order_by: "last_updated_timestamp DESC" })}`,
      )
    ).registered_models ?? [],
  createModel: (name: string) => send("POST", `${MLFLOW}/registered-models/create`, { name }),
  createVersion: async (version: { name: string; source: string; run_id: string; model_id: string }) =>
    (await send<{ model_version: ModelVersion }>("POST", `${MLFLOW}/model-versions/create`, version)).model_version,
  model: async (name: string) =>
    (await send<{ registered_model: RegisteredModel }>("GET", `${MLFLOW}/registered-models/get${query({ name })}`))
      .registered_model,
  describeModel: (name: string, description: string) =>
    send("PATCH", `${MLFLOW}/registered-models/update`, { name, description }),
  versions: async (name: string) =>
    (
      await send<{ model_versions?: ModelVersion[] }>("POST", `${MLFLOW}/model-versions/search`, {
        filter: `name = ${quoted(name)}`,
        order_by: ["version_number DESC"],
      })
    ).model_versions ?? [],
  versionsOfRun: async (runId: string) =>
    (
      await send<{ model_versions?: ModelVersion[] }>("POST", `${MLFLOW}/model-versions/search`, {
        filter: `run_id = '${runId}'`,
      })
    ).model_versions ?? [],
  loggedModels: async (experimentId: string, runId: string) =>
    (
      await send<{ models?: LoggedModel[] }>("POST", `${MLFLOW}/logged-models/search`, {
        experiment_ids: [experimentId],
        filter: `source_run_id = '${runId}'`,
      })
    ).models ?? [],
  version: async (name: string, version: string) =>
    (await send<{ model_version: ModelVersion }>("GET", `${MLFLOW}/model-versions/get${query({ name, version })}`))
      .model_version,
  history: async (name: string) =>
    (await send<{ history: StageChange[] }>("GET", `${ANNEAL}/registered-models/${part(name)}/history`)).history,
  gates: async (name: string) =>
    (await send<{ gates: Gate[] }>("GET", `${ANNEAL}/registered-models/${part(name)}/gates`)).gates,
  setGates: async (name: string, gates: Gate[]) =>
    (await send<{ gates: Gate[] }>("PUT", `${ANNEAL}/registered-models/${part(name)}/gates`, { gates })).gates,
  verdict: (name: string, version: string) =>
    send<{ passed: boolean; gates: GateResult[]; production_version: number | null }>(
      "GET",
      `${ANNEAL}/model-versions/${part(name)}/${version}/gates`,
    ),
  promote: (body: { name: string; version: string; stage: string; comment?: string; archiveExisting?: boolean }) =>
    send<{ model_version: ModelVersion; gates: GateResult[] }>("POST", `${ANNEAL}/model-versions/promote`, body),
  setAlias: (name: string, alias: string, version: string) =>
    send("POST", `${MLFLOW}/registered-models/alias`, { name, alias, version }),
  deleteAlias: (name: string, alias: string) => send("DELETE", `${MLFLOW}/registered-models/alias`, { name, alias }),
  card: (name: string, version: string) => send<Card>("GET", `${ANNEAL}/model-versions/${part(name)}/${version}/card`),
  saveCard: (name: string, version: string, statements: Partial<Record<CardField, string>>) =>
    send<Card>("PUT", `${ANNEAL}/model-versions/${part(name)}/${version}/card`, statements),
};

/** A text as the filter language quotes it: there is no escaping, so the quote is chosen by the text. */
function quoted(text: string): string {
  return text.includes("'") ? `"${text}"` : `'${text}'`;
}
