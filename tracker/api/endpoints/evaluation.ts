import { Type } from "@sinclair/typebox";
import { editExperiment, endpoint, viewExperiment } from "./endpoint.ts";
import { Int, listOf, optional, PAGE, Text } from "./fields.ts";
import { Done, EvaluationDataset, object, pageOf, Scorer } from "./schemas.ts";

/*
 * MLflow's data sets for evaluation, and scorers. A data set may be of several experiments: changing it needs the role editor
 * of all of them.
 */

const BY_ID = { dataset_id: Text };
const ById = Type.Object(BY_ID);
const One = object({ dataset: EvaluationDataset });
/** JSON as text. */
const Json = Type.String({ title: "JSON as text" });

export const createEvaluationDataset = endpoint({
  method: "POST",
  path: "/api/3.0/mlflow/datasets/create",
  summary: "Create a data set for evaluation.",
  request: Type.Object({ name: Text, experiment_ids: optional(listOf(Text)), tags: optional(Json) }),
  answer: One,
  right: editExperiment,
});

export const getEvaluationDataset = endpoint({
  method: "GET",
  path: "/api/3.0/mlflow/datasets/:dataset_id",
  summary: "A data set for evaluation, without its records.",
  request: ById,
  answer: One,
  right: viewExperiment,
});

export const searchEvaluationDatasets = endpoint({
  method: ["GET", "POST"],
  path: "/api/3.0/mlflow/datasets/search",
  summary: "Search data sets for evaluation.",
  request: Type.Object({
    experiment_ids: optional(listOf(Text)),
    filter_string: optional(Text),
    order_by: optional(listOf(Text)),
    ...PAGE,
  }),
  answer: pageOf("datasets", EvaluationDataset),
  right: "filtered",
});

export const deleteEvaluationDataset = endpoint({
  method: "DELETE",
  path: "/api/3.0/mlflow/datasets/:dataset_id",
  summary: "Delete a data set for evaluation, with its records.",
  request: ById,
  answer: Done,
  right: editExperiment,
});

export const setEvaluationDatasetTags = endpoint({
  method: "PATCH",
  path: "/api/3.0/mlflow/datasets/:dataset_id/tags",
  summary: "Set tags of a data set for evaluation.",
  request: Type.Object({ ...BY_ID, tags: Json }),
  answer: One,
  right: editExperiment,
});

export const deleteEvaluationDatasetTag = endpoint({
  method: "DELETE",
  path: "/api/3.0/mlflow/datasets/:dataset_id/tags/:key",
  summary: "Delete a tag of a data set for evaluation.",
  request: Type.Object({ ...BY_ID, key: Text }),
  answer: Done,
  right: editExperiment,
});

export const upsertEvaluationRecords = endpoint({
  method: "POST",
  path: "/api/3.0/mlflow/datasets/:dataset_id/records",
  summary: "Add records to a data set for evaluation. A record with the inputs of a stored one is merged into it.",
  request: Type.Object({ ...BY_ID, records: Json, updated_by: optional(Text) }),
  answer: object({ inserted_count: Type.Integer(), updated_count: Type.Integer() }),
  right: editExperiment,
});

export const getEvaluationRecords = endpoint({
  method: "GET",
  path: "/api/3.0/mlflow/datasets/:dataset_id/records",
  summary: "The records of a data set for evaluation, in pages.",
  request: Type.Object({ ...BY_ID, ...PAGE }),
  answer: object({ records: Json, next_page_token: optional(Text) }),
  right: viewExperiment,
});

export const deleteEvaluationRecords = endpoint({
  method: "DELETE",
  path: "/api/3.0/mlflow/datasets/:dataset_id/records",
  summary: "Delete records of a data set for evaluation.",
  request: Type.Object({ ...BY_ID, dataset_record_ids: optional(listOf(Text)) }),
  answer: object({ deleted_count: Type.Integer() }),
  right: editExperiment,
});

export const getEvaluationDatasetExperiments = endpoint({
  method: "GET",
  path: "/api/3.0/mlflow/datasets/:dataset_id/experiment-ids",
  summary: "The experiments of a data set for evaluation.",
  request: ById,
  answer: object({ experiment_ids: optional(listOf(Text)) }),
  right: viewExperiment,
});

const Experiments = Type.Object({ ...BY_ID, experiment_ids: optional(listOf(Text)) });

export const addEvaluationDatasetExperiments = endpoint({
  method: "POST",
  path: "/api/3.0/mlflow/datasets/:dataset_id/add-experiments",
  summary: "Add a data set for evaluation to experiments.",
  request: Experiments,
  answer: One,
  right: editExperiment,
});

export const removeEvaluationDatasetExperiments = endpoint({
  method: "POST",
  path: "/api/3.0/mlflow/datasets/:dataset_id/remove-experiments",
  summary: "Remove a data set for evaluation from experiments.",
  request: Experiments,
  answer: One,
  right: editExperiment,
});

const SCORER = { experiment_id: Text, name: Text };
const Named = Type.Object(SCORER);
const Versioned = Type.Object({ ...SCORER, version: optional(Int) });

export const registerScorer = endpoint({
  method: "POST",
  path: "/api/3.0/mlflow/scorers/register",
  summary: "Register a version of a scorer.",
  request: Type.Object({ ...SCORER, serialized_scorer: Text }),
  answer: object({
    version: Type.Integer(),
    scorer_id: Text,
    ...SCORER,
    serialized_scorer: Text,
    creation_time: Type.Integer(),
  }),
  right: editExperiment,
});

export const listScorers = endpoint({
  method: "GET",
  path: "/api/3.0/mlflow/scorers/list",
  summary: "The latest version of each scorer of an experiment.",
  request: Type.Object({ experiment_id: Text }),
  answer: pageOf("scorers", Scorer),
  right: viewExperiment,
});

export const listScorerVersions = endpoint({
  method: "GET",
  path: "/api/3.0/mlflow/scorers/versions",
  summary: "All versions of a scorer.",
  request: Named,
  answer: pageOf("scorers", Scorer),
  right: viewExperiment,
});

export const getScorer = endpoint({
  method: "GET",
  path: "/api/3.0/mlflow/scorers/get",
  summary: "A version of a scorer, by default the latest.",
  request: Versioned,
  answer: object({ scorer: Scorer }),
  right: viewExperiment,
});

export const deleteScorer = endpoint({
  method: "DELETE",
  path: "/api/3.0/mlflow/scorers/delete",
  summary: "Delete a version of a scorer, by default all.",
  request: Versioned,
  answer: Done,
  right: editExperiment,
});
