import { Type } from "@sinclair/typebox";
import { adminModel, editModel, editTracker, endpoint, viewExperiment, viewModel } from "./endpoint.ts";
import { Bool, BY_VERSION, listOf, optional, SEARCH, Tag, Text } from "./fields.ts";
import { Done, ModelVersion, object, pageOf, RegisteredModel } from "./schemas.ts";

const ByName = Type.Object({ name: Text });
const ByVersion = Type.Object(BY_VERSION);
const ByAlias = Type.Object({ name: Text, alias: Text });
const OneModel = object({ registered_model: RegisteredModel });
const OneVersion = object({ model_version: ModelVersion });

export const createModel = endpoint({
  method: "POST",
  path: "/api/2.0/mlflow/registered-models/create",
  summary: "Create a registered model without versions.",
  request: Type.Object({ name: Text, description: optional(Text), tags: optional(listOf(Tag)) }),
  answer: OneModel,
  right: editTracker,
});

export const getModel = endpoint({
  method: "GET",
  path: "/api/2.0/mlflow/registered-models/get",
  summary: "A registered model by its name.",
  request: ByName,
  answer: OneModel,
  right: viewModel,
});

export const searchModels = endpoint({
  method: ["GET", "POST"],
  path: ["/api/2.0/mlflow/registered-models/search", "/api/2.0/mlflow/registered-models/list"],
  summary: "Find registered models.",
  request: Type.Object(SEARCH),
  answer: pageOf("registered_models", RegisteredModel),
  right: "filtered",
});

export const renameModel = endpoint({
  method: "POST",
  path: "/api/2.0/mlflow/registered-models/rename",
  summary: "Rename a registered model.",
  request: Type.Object({ name: Text, new_name: Text }),
  answer: OneModel,
  right: [adminModel, editTracker],
});

export const updateModel = endpoint({
  method: "PATCH",
  path: "/api/2.0/mlflow/registered-models/update",
  summary: "Set the description of a registered model.",
  request: Type.Object({ name: Text, description: optional(Text) }),
  answer: OneModel,
  right: editModel,
});

export const deleteModel = endpoint({
  method: "DELETE",
  path: "/api/2.0/mlflow/registered-models/delete",
  summary: "Delete a registered model and its versions.",
  request: ByName,
  answer: Done,
  right: adminModel,
});

export const setModelTag = endpoint({
  method: "POST",
  path: "/api/2.0/mlflow/registered-models/set-tag",
  summary: "Set a tag of a registered model.",
  request: Type.Object({ name: Text, key: Text, value: optional(Text) }),
  answer: Done,
  right: editModel,
});

export const deleteModelTag = endpoint({
  method: "DELETE",
  path: "/api/2.0/mlflow/registered-models/delete-tag",
  summary: "Delete a tag of a registered model.",
  request: Type.Object({ name: Text, key: Text }),
  answer: Done,
  right: editModel,
});

export const getLatestVersions = endpoint({
  method: ["GET", "POST"],
  path: "/api/2.0/mlflow/registered-models/get-latest-versions",
  summary: "The latest version in each stage.",
  request: Type.Object({ name: Text, stages: optional(listOf(Text)) }),
  answer: pageOf("model_versions", ModelVersion),
  right: viewModel,
});

export const setAlias = endpoint({
  method: "POST",
  path: "/api/2.0/mlflow/registered-models/alias",
  summary: "Set an alias of a version.",
  request: Type.Object({ ...BY_VERSION, alias: Text }),
  answer: Done,
  right: editModel,
});

export const getByAlias = endpoint({
  method: "GET",
  path: "/api/2.0/mlflow/registered-models/alias",
  summary: "The version with an alias.",
  request: ByAlias,
  answer: OneVersion,
  right: viewModel,
});

export const deleteAlias = endpoint({
  method: "DELETE",
  path: "/api/2.0/mlflow/registered-models/alias",
  summary: "Delete an alias.",
  request: ByAlias,
  answer: Done,
  right: editModel,
});

export const createVersion = endpoint({
  method: "POST",
  path: "/api/2.0/mlflow/model-versions/create",
  summary: "Register a model's files as a new version.",
  request: Type.Object({
    name: Text,
    source: Text,
    run_id: optional(Text),
    run_link: optional(Text),
    model_id: optional(Text),
    description: optional(Text),
    tags: optional(listOf(Tag)),
  }),
  answer: OneVersion,
  // Registering files lets every reader of the model read them, so the user must be allowed to.
  right: [editModel, viewExperiment],
});

export const getVersion = endpoint({
  method: "GET",
  path: "/api/2.0/mlflow/model-versions/get",
  summary: "A version of a registered model.",
  request: ByVersion,
  answer: OneVersion,
  right: viewModel,
});

export const searchVersions = endpoint({
  method: ["GET", "POST"],
  path: "/api/2.0/mlflow/model-versions/search",
  summary: "Search versions of registered models.",
  request: Type.Object(SEARCH),
  answer: pageOf("model_versions", ModelVersion),
  right: "filtered",
});

export const getDownloadUri = endpoint({
  method: "GET",
  path: "/api/2.0/mlflow/model-versions/get-download-uri",
  summary: "The address of a version's files.",
  request: ByVersion,
  answer: object({ artifact_uri: Text }),
  right: viewModel,
});

export const updateVersion = endpoint({
  method: "PATCH",
  path: "/api/2.0/mlflow/model-versions/update",
  summary: "Set the description of a version.",
  request: Type.Object({ ...BY_VERSION, description: optional(Text) }),
  answer: OneVersion,
  right: editModel,
});

export const deleteVersion = endpoint({
  method: "DELETE",
  path: "/api/2.0/mlflow/model-versions/delete",
  summary: "Delete a version.",
  request: ByVersion,
  answer: Done,
  right: editModel,
});

export const transitionStage = endpoint({
  method: "POST",
  path: "/api/2.0/mlflow/model-versions/transition-stage",
  summary: "Change a version's stage. Production requires that all gates pass.",
  request: Type.Object({ ...BY_VERSION, stage: Text, archive_existing_versions: optional(Bool) }),
  answer: OneVersion,
  right: editModel,
});

export const setVersionTag = endpoint({
  method: "POST",
  path: "/api/2.0/mlflow/model-versions/set-tag",
  summary: "Set a tag of a version.",
  request: Type.Object({ ...BY_VERSION, key: Text, value: optional(Text) }),
  answer: Done,
  right: editModel,
});

export const deleteVersionTag = endpoint({
  method: "DELETE",
  path: "/api/2.0/mlflow/model-versions/delete-tag",
  summary: "Delete a tag of a version.",
  request: Type.Object({ ...BY_VERSION, key: Text }),
  answer: Done,
  right: editModel,
});
