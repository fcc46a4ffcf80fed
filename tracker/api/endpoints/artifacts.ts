import { Type } from "@sinclair/typebox";
import { editExperiment, endpoint, viewExperiment, viewModel } from "./endpoint.ts";
import { Digest, Int, listOf, optional, RUN, Text } from "./fields.ts";
import { Done, FileInfo, object } from "./schemas.ts";

const OF_MODEL = { model_id: Text };
const Files = object({ root_uri: Text, files: optional(listOf(FileInfo)) });
/** The rest of a path, with slashes. */
const REST = { "*": Text };

export const listArtifacts = endpoint({
  method: "GET",
  path: "/api/2.0/mlflow/artifacts/list",
  summary: "A run's artifacts in a folder.",
  request: Type.Object({ ...RUN, path: optional(Text), page_token: optional(Text) }),
  answer: Files,
  right: viewExperiment,
});

export const listModelFiles = endpoint({
  method: "GET",
  path: "/api/2.0/mlflow/logged-models/:model_id/artifacts/directories",
  summary: "A logged model's files in a folder.",
  request: Type.Object({ ...OF_MODEL, artifact_directory_path: optional(Text) }),
  answer: Files,
  right: viewExperiment,
});

export const getModelFile = endpoint({
  method: "GET",
  path: "/api/2.0/mlflow/logged-models/:model_id/artifacts/files",
  summary: "The bytes of a logged model's file.",
  request: Type.Object({ ...OF_MODEL, artifact_file_path: Text }),
  answer: "application/octet-stream",
  right: viewExperiment,
});

export const getRunFile = endpoint({
  method: "GET",
  path: ["/get-artifact", "/api/2.0/mlflow/get-artifact"],
  summary: "The bytes of a run's artifact.",
  request: Type.Object({ ...RUN, path: Text }),
  answer: "application/octet-stream",
  right: viewExperiment,
});

export const getVersionFile = endpoint({
  method: "GET",
  path: ["/model-versions/get-artifact", "/api/2.0/mlflow/model-versions/get-artifact"],
  summary: "The bytes of a model version's file.",
  request: Type.Object({ name: Text, version: Text, path: Text }),
  answer: "application/octet-stream",
  right: viewModel,
});

export const uploadRunFile = endpoint({
  method: "POST",
  path: "/ajax-api/2.0/mlflow/upload-artifact",
  summary: "Store a file of a run, as MLflow's own pages do: the body is the file.",
  request: Type.Object({ run_uuid: Text, path: Text }),
  body: "application/octet-stream",
  answer: Done,
  right: editExperiment,
  audit: false,
});

export const listByPath = endpoint({
  method: "GET",
  path: "/api/2.0/mlflow-artifacts/artifacts",
  summary: "The artifacts in a folder, by its path from the root.",
  request: Type.Object({ path: optional(Text) }),
  answer: object({ files: optional(listOf(FileInfo)) }),
  right: viewExperiment,
});

export const getByPath = endpoint({
  method: "GET",
  path: "/api/2.0/mlflow-artifacts/artifacts/*",
  summary: "The bytes of an artifact, by its path from the root.",
  request: Type.Object(REST),
  answer: "application/octet-stream",
  right: viewExperiment,
});

export const putByPath = endpoint({
  method: "PUT",
  path: "/api/2.0/mlflow-artifacts/artifacts/*",
  summary: "Store an artifact: the body is the file.",
  request: Type.Object(REST),
  body: "application/octet-stream",
  answer: Done,
  right: editExperiment,
  audit: false,
});

export const deleteByPath = endpoint({
  method: "DELETE",
  path: "/api/2.0/mlflow-artifacts/artifacts/*",
  summary: "Delete an artifact, or a folder of artifacts.",
  request: Type.Object(REST),
  answer: Done,
  right: editExperiment,
});

export const copyArtifact = endpoint({
  method: "POST",
  path: "/api/anneal/artifacts/copies",
  summary: "Store under a path a file that the tracker has already, by its SHA-256.",
  request: Type.Object({ path: Text, size: Int, sha256: Digest }),
  answer: object({ copied: Type.Boolean() }),
  right: editExperiment,
  audit: false,
});
