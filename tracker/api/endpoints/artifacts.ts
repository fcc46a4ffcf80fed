import { Type } from "@sinclair/typebox";
import { editExperiment, endpoint, viewExperiment, viewModel } from "./endpoint.ts";
import { Digest, Int, listOf, optional, RUN, Text } from "./fields.ts";
import { Done, FileInfo, object } from "./schemas.ts";

const OF_MODEL = { model_id: Text };
const Files = object({ root_uri: Text, files: optional(listOf(FileInfo)) });
/** The rest of the path, including slashes. */
const REST = { "*": Text };

export const listArtifacts = endpoint({
  method: "GET",
  path: "/api/2.0/mlflow/artifacts/list",
  summary: "List a run's artifacts in a folder.",
  request: Type.Object({ ...RUN, path: optional(Text), page_token: optional(Text) }),
  answer: Files,
  right: viewExperiment,
});

export const listModelFiles = endpoint({
  method: "GET",
  path: "/api/2.0/mlflow/logged-models/:model_id/artifacts/directories",
  summary: "List a logged model's files in a folder.",
  request: Type.Object({ ...OF_MODEL, artifact_directory_path: optional(Text) }),
  answer: Files,
  right: viewExperiment,
});

export const getModelFile = endpoint({
  method: "GET",
  path: "/api/2.0/mlflow/logged-models/:model_id/artifacts/files",
  summary: "Download a file of a logged model.",
  request: Type.Object({ ...OF_MODEL, artifact_file_path: Text }),
  answer: "application/octet-stream",
  right: viewExperiment,
});

export const getRunFile = endpoint({
  method: "GET",
  path: ["/get-artifact", "/api/2.0/mlflow/get-artifact"],
  summary: "Download an artifact of a run.",
  request: Type.Object({ ...RUN, path: Text }),
  answer: "application/octet-stream",
  right: viewExperiment,
});

export const getVersionFile = endpoint({
  method: "GET",
  path: ["/model-versions/get-artifact", "/api/2.0/mlflow/model-versions/get-artifact"],
  summary: "Download a file of a model version.",
  request: Type.Object({ name: Text, version: Text, path: Text }),
  answer: "application/octet-stream",
  right: viewModel,
});

export const uploadRunFile = endpoint({
  method: "POST",
  path: "/ajax-api/2.0/mlflow/upload-artifact",
  summary: "Upload an artifact of a run, as MLflow's own pages do; the body is the file.",
  request: Type.Object({ run_uuid: optional(Text), path: optional(Text) }),
  body: "application/octet-stream",
  answer: Done,
  right: editExperiment,
  audit: false,
});

export const listByPath = endpoint({
  method: "GET",
  path: "/api/2.0/mlflow-artifacts/artifacts",
  summary: "List the artifacts in a folder, by its path from the root.",
  request: Type.Object({ path: optional(Text) }),
  answer: object({ files: optional(listOf(FileInfo)) }),
  right: viewExperiment,
});

export const getByPath = endpoint({
  method: "GET",
  path: "/api/2.0/mlflow-artifacts/artifacts/*",
  summary: "Download an artifact, by its path from the root.",
  request: Type.Object(REST),
  answer: "application/octet-stream",
  right: viewExperiment,
});

export const putByPath = endpoint({
  method: "PUT",
  path: "/api/2.0/mlflow-artifacts/artifacts/*",
  summary: "Upload an artifact; the body is the file.",
  request: Type.Object(REST),
  body: "application/octet-stream",
  answer: Done,
  right: editExperiment,
  audit: false,
});

export const deleteByPath = endpoint({
  method: "DELETE",
  path: "/api/2.0/mlflow-artifacts/artifacts/*",
  summary: "Delete an artifact or a folder.",
  request: Type.Object(REST),
  answer: Done,
  right: editExperiment,
});

export const copyArtifact = endpoint({
  method: "POST",
  path: "/api/anneal/artifacts/copies",
  summary: "Copy a file that the tracker already stores to a path, by its SHA-256.",
  request: Type.Object({ path: Text, size: Int, sha256: Digest }),
  answer: object({ copied: Type.Boolean() }),
  right: editExperiment,
  audit: false,
});
