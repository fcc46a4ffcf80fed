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
});

export const deleteByPath = endpoint({
  method: "DELETE",
  path: "/api/2.0/mlflow-artifacts/artifacts/*",
  summary: "Delete an artifact, or a folder of artifacts.",
  request: Type.Object(REST),
  answer: Done,
  right: editExperiment,
});

/** MLflow's uploads in parts: the address names the folder, and `path` the file on the client's side. */
const AT = { "*": optional(Text), path: Text };

export const createMultipart = endpoint({
  method: "POST",
  path: ["/api/2.0/mlflow-artifacts/mpu/create/*", "/api/2.0/mlflow-artifacts/mpu/create"],
  summary: "Begin to upload a file in parts.",
  request: Type.Object({ ...AT, num_parts: optional(Int) }),
  answer: object({
    upload_id: Text,
    credentials: listOf(object({ url: Text, part_number: Type.Integer(), headers: object({}) })),
  }),
  right: editExperiment,
});

export const completeMultipart = endpoint({
  method: "POST",
  path: ["/api/2.0/mlflow-artifacts/mpu/complete/*", "/api/2.0/mlflow-artifacts/mpu/complete"],
  summary: "Join the parts of an upload to a file.",
  request: Type.Object({
    ...AT,
    upload_id: Text,
    parts: listOf(Type.Object({ part_number: Int, etag: optional(Text) })),
  }),
  answer: Done,
  right: editExperiment,
});

export const abortMultipart = endpoint({
  method: "POST",
  path: ["/api/2.0/mlflow-artifacts/mpu/abort/*", "/api/2.0/mlflow-artifacts/mpu/abort"],
  summary: "Abort an upload in parts.",
  request: Type.Object({ ...AT, upload_id: Text }),
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
});

export const beginUpload = endpoint({
  method: "POST",
  path: "/api/anneal/artifacts/uploads",
  summary: "Begin to upload a file in parts, or resume: the answer lists the parts with what is known of each.",
  request: Type.Object({ path: Text, size: Int, sha256: Digest }),
  answer: Type.Union([
    object({ stored: Type.Literal(true) }),
    object({
      stored: Type.Literal(false),
      upload_id: Text,
      part_size: Type.Integer(),
      /** With an etag where the tracker has the part, else with the address to send it to. */
      parts: listOf(object({ part_number: Type.Integer(), etag: optional(Text), url: optional(Text) })),
    }),
  ]),
  right: editExperiment,
});

export const putPart = endpoint({
  method: "PUT",
  path: "/api/anneal/artifacts/parts/:id/:number",
  summary: "Store a part of an upload: the body is the part.",
  request: Type.Object({ id: Text, number: Text, expires: optional(Text), signature: optional(Text) }),
  body: "application/octet-stream",
  answer: Done,
  right: "signature",
});

export const completeUpload = endpoint({
  method: "POST",
  path: "/api/anneal/artifacts/uploads/:upload_id/complete",
  summary: "Join the parts of an upload to a file.",
  request: Type.Object({
    upload_id: Text,
    size: Int,
    sha256: Digest,
    parts: listOf(Type.Object({ part_number: Int, etag: Text })),
  }),
  answer: Done,
  right: editExperiment,
});

export const abortUpload = endpoint({
  method: "DELETE",
  path: "/api/anneal/artifacts/uploads/:upload_id",
  summary: "Abort an upload and remove its parts.",
  request: Type.Object({ upload_id: Text }),
  answer: Done,
  right: editExperiment,
});
