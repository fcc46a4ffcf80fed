import { Type } from "@sinclair/typebox";
import { editExperiment, endpoint, viewExperiment } from "./endpoint.ts";
import { Bool, LOGGED_MODEL_STATUSES, listOf, oneOf, optional, PAGE, Param, Tag, Text } from "./fields.ts";
import { Done, LoggedModel, object, pageOf } from "./schemas.ts";

const BY_ID = { model_id: Text };
const ById = Type.Object(BY_ID);
const One = object({ model: LoggedModel });

export const createLoggedModel = endpoint({
  method: "POST",
  path: "/api/2.0/mlflow/logged-models",
  summary: "Create a logged model. Its files are uploaded afterwards.",
  request: Type.Object({
    experiment_id: Text,
    name: optional(Text),
    model_type: optional(Text),
    source_run_id: optional(Text),
    params: optional(listOf(Param)),
    tags: optional(listOf(Tag)),
  }),
  answer: One,
  right: editExperiment,
});

export const searchLoggedModels = endpoint({
  method: "POST",
  path: "/api/2.0/mlflow/logged-models/search",
  summary: "Find logged models.",
  request: Type.Object({
    experiment_ids: optional(listOf(Text)),
    filter: optional(Text),
    /** Only models with a metric on one of them, to which conditions on metrics apply. */
    datasets: optional(listOf(Type.Object({ dataset_name: Text, dataset_digest: optional(Text) }))),
    order_by: optional(
      listOf(
        Type.Object({
          field_name: Text,
          ascending: optional(Bool),
          dataset_name: optional(Text),
          dataset_digest: optional(Text),
        }),
      ),
    ),
    ...PAGE,
  }),
  answer: pageOf("models", LoggedModel),
  right: "filtered",
});

export const getLoggedModel = endpoint({
  method: "GET",
  path: "/api/2.0/mlflow/logged-models/:model_id",
  summary: "A logged model by its id.",
  request: ById,
  answer: One,
  right: viewExperiment,
});

export const finishLoggedModel = endpoint({
  method: "PATCH",
  path: "/api/2.0/mlflow/logged-models/:model_id",
  summary: "Set the status of a logged model's upload.",
  request: Type.Object({
    ...BY_ID,
    status: oneOf(LOGGED_MODEL_STATUSES, 0),
    status_message: optional(Text),
  }),
  answer: One,
  right: editExperiment,
});

export const deleteLoggedModel = endpoint({
  method: "DELETE",
  path: "/api/2.0/mlflow/logged-models/:model_id",
  summary: "Delete a logged model.",
  request: ById,
  answer: Done,
  right: editExperiment,
});

export const setLoggedModelTags = endpoint({
  method: "PATCH",
  path: "/api/2.0/mlflow/logged-models/:model_id/tags",
  summary: "Set tags of a logged model.",
  request: Type.Object({ ...BY_ID, tags: optional(listOf(Tag)) }),
  answer: One,
  right: editExperiment,
});

export const deleteLoggedModelTag = endpoint({
  method: "DELETE",
  path: "/api/2.0/mlflow/logged-models/:model_id/tags/:tag_key",
  summary: "Delete a tag of a logged model.",
  request: Type.Object({ ...BY_ID, tag_key: Text }),
  answer: Done,
  right: editExperiment,
});

export const addLoggedModelParams = endpoint({
  method: "POST",
  path: "/api/2.0/mlflow/logged-models/:model_id/params",
  summary: "Add parameters to a logged model.",
  request: Type.Object({ ...BY_ID, params: optional(listOf(Param)) }),
  answer: Done,
  right: editExperiment,
});
