import { Type } from "@sinclair/typebox";
import { editExperiment, editTracker, endpoint, viewExperiment } from "./endpoint.ts";
import { listOf, optional, SEARCH, Tag, Text, View } from "./fields.ts";
import { DatasetSummary, Done, Experiment, object, pageOf } from "./schemas.ts";

const ById = Type.Object({ experiment_id: Text });
const OneExperiment = object({ experiment: Experiment });

export const createExperiment = endpoint({
  method: "POST",
  path: "/api/2.0/mlflow/experiments/create",
  summary: "Create an experiment.",
  request: Type.Object({ name: Text, artifact_location: optional(Text), tags: optional(listOf(Tag)) }),
  answer: object({ experiment_id: Text }),
  right: editTracker,
});

export const getExperiment = endpoint({
  method: "GET",
  path: "/api/2.0/mlflow/experiments/get",
  summary: "An experiment by its id.",
  request: ById,
  answer: OneExperiment,
  right: viewExperiment,
});

export const getExperimentByName = endpoint({
  method: "GET",
  path: "/api/2.0/mlflow/experiments/get-by-name",
  summary: "An experiment by its name, also if it is deleted.",
  request: Type.Object({ experiment_name: Text }),
  answer: OneExperiment,
  right: viewExperiment,
});

export const searchExperiments = endpoint({
  method: ["GET", "POST"],
  path: ["/api/2.0/mlflow/experiments/search", "/api/2.0/mlflow/experiments/list"],
  summary: "Search experiments.",
  request: Type.Object({ view_type: optional(View), ...SEARCH }),
  answer: pageOf("experiments", Experiment),
  right: "filtered",
});

export const updateExperiment = endpoint({
  method: "POST",
  path: "/api/2.0/mlflow/experiments/update",
  summary: "Rename an experiment.",
  request: Type.Object({ experiment_id: Text, new_name: optional(Text) }),
  answer: Done,
  right: editExperiment,
});

export const deleteExperiment = endpoint({
  method: "POST",
  path: "/api/2.0/mlflow/experiments/delete",
  summary: "Mark an experiment as deleted; it can be restored.",
  request: ById,
  answer: Done,
  right: editExperiment,
});

export const restoreExperiment = endpoint({
  method: "POST",
  path: "/api/2.0/mlflow/experiments/restore",
  summary: "Restore a deleted experiment.",
  request: ById,
  answer: Done,
  right: editExperiment,
});

export const setExperimentTag = endpoint({
  method: "POST",
  path: "/api/2.0/mlflow/experiments/set-experiment-tag",
  summary: "Set a tag of an experiment.",
  request: Type.Object({ experiment_id: Text, key: Text, value: optional(Text) }),
  answer: Done,
  right: editExperiment,
});

export const deleteExperimentTag = endpoint({
  method: "POST",
  path: "/api/2.0/mlflow/experiments/delete-experiment-tag",
  summary: "Delete a tag of an experiment.",
  request: Type.Object({ experiment_id: Text, key: Text }),
  answer: Done,
  right: editExperiment,
});

export const searchDatasets = endpoint({
  method: ["GET", "POST"],
  path: "/api/2.0/mlflow/experiments/search-datasets",
  summary: "The data sets that runs of some experiments used.",
  request: Type.Object({ experiment_ids: optional(listOf(Text)) }),
  answer: object({ dataset_summaries: listOf(DatasetSummary) }),
  right: "filtered",
});
