import { Type } from "@sinclair/typebox";
import { editExperiment, endpoint, viewExperiment } from "./endpoint.ts";
import { Float, Int, listOf, oneOf, optional, Param, RUN, RUN_STATUSES, SEARCH, Tag, Text, View } from "./fields.ts";
import { Done, object, pageOf, Run, RunInfo } from "./schemas.ts";

const One = Type.Object(RUN);
const POINT = {
  key: Text,
  value: Float,
  timestamp: Int,
  step: optional(Int),
  model_id: optional(Text),
  dataset_name: optional(Text),
  dataset_digest: optional(Text),
};
const Dataset = Type.Object({
  name: Text,
  digest: Text,
  source_type: optional(Text),
  source: optional(Text),
  schema: optional(Text),
  profile: optional(Text),
});

export const createRun = endpoint({
  method: "POST",
  path: "/api/2.0/mlflow/runs/create",
  summary: "Create a run.",
  request: Type.Object({
    experiment_id: optional(Text),
    user_id: optional(Text),
    run_name: optional(Text),
    start_time: optional(Int),
    tags: optional(listOf(Tag)),
  }),
  answer: object({ run: Run }),
  right: editExperiment,
});

export const getRun = endpoint({
  method: "GET",
  path: "/api/2.0/mlflow/runs/get",
  summary: "A run with its latest metrics, parameters and tags.",
  request: One,
  answer: object({ run: Run }),
  right: viewExperiment,
});

export const updateRun = endpoint({
  method: "POST",
  path: "/api/2.0/mlflow/runs/update",
  summary: "Change a run's status, end time or name.",
  request: Type.Object({
    ...RUN,
    status: optional(oneOf(RUN_STATUSES)),
    end_time: optional(Int),
    run_name: optional(Text),
  }),
  answer: object({ run_info: RunInfo }),
  right: editExperiment,
});

export const deleteRun = endpoint({
  method: "POST",
  path: "/api/2.0/mlflow/runs/delete",
  summary: "Mark a run as deleted; it can be restored.",
  request: One,
  answer: Done,
  right: editExperiment,
});

export const restoreRun = endpoint({
  method: "POST",
  path: "/api/2.0/mlflow/runs/restore",
  summary: "Restore a deleted run.",
  request: One,
  answer: Done,
  right: editExperiment,
});

export const searchRuns = endpoint({
  method: "POST",
  path: "/api/2.0/mlflow/runs/search",
  summary: "Search runs with MLflow's filter language.",
  request: Type.Object({ experiment_ids: optional(listOf(Text)), run_view_type: optional(View), ...SEARCH }),
  answer: pageOf("runs", Run),
  right: "filtered",
});

export const logMetric = endpoint({
  method: "POST",
  path: "/api/2.0/mlflow/runs/log-metric",
  summary: "Log one point of a metric.",
  request: Type.Object({ ...RUN, ...POINT }),
  answer: Done,
  right: editExperiment,
  audit: false,
});

export const logParameter = endpoint({
  method: "POST",
  path: "/api/2.0/mlflow/runs/log-parameter",
  summary: "Log one parameter. Its value cannot be changed later.",
  request: Type.Object({ ...RUN, key: Text, value: optional(Text) }),
  answer: Done,
  right: editExperiment,
  audit: false,
});

export const logBatch = endpoint({
  method: "POST",
  path: "/api/2.0/mlflow/runs/log-batch",
  summary: "Log up to 1000 metrics, 100 parameters and 100 tags, at most 1000 in total.",
  request: Type.Object({
    ...RUN,
    metrics: optional(listOf(Type.Object(POINT))),
    params: optional(listOf(Param)),
    tags: optional(listOf(Tag)),
  }),
  answer: Done,
  right: editExperiment,
  audit: false,
});

export const setRunTag = endpoint({
  method: "POST",
  path: "/api/2.0/mlflow/runs/set-tag",
  summary: "Set a tag of a run.",
  request: Type.Object({ ...RUN, key: Text, value: optional(Text) }),
  answer: Done,
  right: editExperiment,
});

export const deleteRunTag = endpoint({
  method: "POST",
  path: "/api/2.0/mlflow/runs/delete-tag",
  summary: "Delete a tag of a run.",
  request: Type.Object({ ...RUN, key: Text }),
  answer: Done,
  right: editExperiment,
});

export const logInputs = endpoint({
  method: "POST",
  path: "/api/2.0/mlflow/runs/log-inputs",
  summary: "Log data sets and models that a run uses.",
  request: Type.Object({
    ...RUN,
    datasets: optional(listOf(Type.Object({ tags: optional(listOf(Tag)), dataset: Dataset }))),
    models: optional(listOf(Type.Object({ model_id: Text }))),
  }),
  answer: Done,
  right: editExperiment,
  audit: false,
});

export const logOutputs = endpoint({
  method: "POST",
  path: "/api/2.0/mlflow/runs/outputs",
  summary: "Log models that a run produced.",
  request: Type.Object({
    ...RUN,
    models: optional(listOf(Type.Object({ model_id: Text, step: optional(Int) }))),
  }),
  answer: Done,
  right: editExperiment,
  audit: false,
});

export const logModel = endpoint({
  method: "POST",
  path: "/api/2.0/mlflow/runs/log-model",
  summary: "Log a model, as clients older than MLflow 3 do.",
  request: Type.Object({ ...RUN, model_json: Text }),
  answer: Done,
  right: editExperiment,
});
