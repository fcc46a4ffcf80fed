// API calls of the run and model pages.
import type { CardField } from "../../api/endpoints/anneal-schemas.ts";
import type { Request } from "../../api/endpoints/index.ts";
import { addressOf, call, fail } from "./call.ts";

export type {
  Card,
  CardField,
  CountedExperiment as Experiment,
  Gate,
  GateResult,
  RunRow,
  StageChange,
} from "../../api/endpoints/anneal-schemas.ts";
export type {
  DatasetInput,
  FileInfo,
  KeyValue,
  LoggedModel,
  MetricValue as Num,
  ModelVersion,
  RegisteredModel,
  Run,
  RunInfo,
  RunMetric as Point,
} from "../../api/endpoints/schemas.ts";
export { ApiError } from "./call.ts";

export type TableRequest = Request<"POST /api/anneal/runs/table">;

export const CARD_FIELDS: readonly { field: CardField; title: string; ask: string }[] = [
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
];

export const api = {
  experiments: () => call("GET /api/anneal/experiments"),
  keys: (experiment_ids: string[]) => call("GET /api/anneal/experiments/keys", { experiment_ids }),
  table: (request: TableRequest) => call("POST /api/anneal/runs/table", request),

  run: async (run_id: string) => (await call("GET /api/2.0/mlflow/runs/get", { run_id })).run,
  renameRun: (run_id: string, run_name: string) => call("POST /api/2.0/mlflow/runs/update", { run_id, run_name }),
  endRun: (run_id: string, status: "FINISHED" | "FAILED" | "KILLED") =>
    call("POST /api/2.0/mlflow/runs/update", { run_id, status, end_time: Date.now() }),
  rewinds: async (run_id: string) => (await call("GET /api/anneal/runs/:run_id/rewinds", { run_id })).rewinds,
  deleteRun: (run_id: string) => call("POST /api/2.0/mlflow/runs/delete", { run_id }),
  restoreRun: (run_id: string) => call("POST /api/2.0/mlflow/runs/restore", { run_id }),
  samples: async (run_ids: string[], metric_key: string, max_results = 800) =>
    (
      await call("GET /api/2.0/mlflow/metrics/get-history-bulk-interval", {
        run_ids,
        metric_key,
        max_results,
        each_run: true,
      })
    ).metrics,
  files: async (run_id: string, path?: string) =>
    (await call("GET /api/2.0/mlflow/artifacts/list", { run_id, path })).files ?? [],
  fileUrl: (run_id: string, path: string) => addressOf("GET /get-artifact", { run_id, path }),
  /** The text of a file, truncated if it is too long. */
  text: async (run_id: string, path: string, limit = 2_000_000) => {
    const response = await fetch(api.fileUrl(run_id, path), { headers: { range: `bytes=0-${limit - 1}` } });
    // A range request for an empty file cannot be satisfied.
    if (response.status === 416) return "";
    return response.ok ? response.text() : fail(response);
  },

  models: async () => {
    const request = { max_results: 1000, order_by: ["last_updated_timestamp DESC"] };
    return (await call("GET /api/2.0/mlflow/registered-models/search", request)).registered_models ?? [];
  },
  createModel: (name: string) => call("POST /api/2.0/mlflow/registered-models/create", { name }),
  createVersion: async (version: Request<"POST /api/2.0/mlflow/model-versions/create">) =>
    (await call("POST /api/2.0/mlflow/model-versions/create", version)).model_version,
  model: async (name: string) => (await call("GET /api/2.0/mlflow/registered-models/get", { name })).registered_model,
  describeModel: (name: string, description: string) =>
    call("PATCH /api/2.0/mlflow/registered-models/update", { name, description }),
  versions: async (name: string) => {
    const request = { filter: `name = ${quoted(name)}`, order_by: ["version_number DESC"] };
    return (await call("POST /api/2.0/mlflow/model-versions/search", request)).model_versions ?? [];
  },
  versionsOfRun: async (runId: string) =>
    (await call("POST /api/2.0/mlflow/model-versions/search", { filter: `run_id = '${runId}'` })).model_versions ?? [],
  loggedModels: async (experimentId: string, runId: string) => {
    const request = { experiment_ids: [experimentId], filter: `source_run_id = '${runId}'` };
    return (await call("POST /api/2.0/mlflow/logged-models/search", request)).models ?? [];
  },
  version: async (name: string, version: string) =>
    (await call("GET /api/2.0/mlflow/model-versions/get", { name, version })).model_version,
  history: async (name: string) => (await call("GET /api/anneal/registered-models/:name/history", { name })).history,
  gates: async (name: string) => (await call("GET /api/anneal/registered-models/:name/gates", { name })).gates,
  setGates: async (name: string, gates: Request<"PUT /api/anneal/registered-models/:name/gates">["gates"]) =>
    (await call("PUT /api/anneal/registered-models/:name/gates", { name, gates })).gates,
  verdict: (name: string, version: string) =>
    call("GET /api/anneal/model-versions/:name/:version/gates", { name, version }),
  promote: (request: Request<"POST /api/anneal/model-versions/promote">) =>
    call("POST /api/anneal/model-versions/promote", request),
  setAlias: (name: string, alias: string, version: string) =>
    call("POST /api/2.0/mlflow/registered-models/alias", { name, alias, version }),
  deleteAlias: (name: string, alias: string) => call("DELETE /api/2.0/mlflow/registered-models/alias", { name, alias }),
  card: (name: string, version: string) =>
    call("GET /api/anneal/model-versions/:name/:version/card", { name, version }),
  saveCard: (name: string, version: string, statements: Partial<Record<CardField, string>>) =>
    call("PUT /api/anneal/model-versions/:name/:version/card", { name, version, ...statements }),
};

/** Quotes a string for the filter language, which has no escapes: the quote character depends on the string. */
function quoted(text: string): string {
  return text.includes("'") ? `"${text}"` : `'${text}'`;
}
