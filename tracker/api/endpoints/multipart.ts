import { Type } from "@sinclair/typebox";
import { editExperiment, endpoint } from "./endpoint.ts";
import { Digest, Int, listOf, optional, Text } from "./fields.ts";
import { Done, object } from "./schemas.ts";

// MLflow's multipart uploads: the address has the folder, and `path` is the file's path at the client.
const AT = { "*": optional(Text), path: Text };

export const createMultipart = endpoint({
  method: "POST",
  path: ["/api/2.0/mlflow-artifacts/mpu/create/*", "/api/2.0/mlflow-artifacts/mpu/create"],
  summary: "Start a multipart upload.",
  request: Type.Object({ ...AT, num_parts: optional(Int) }),
  answer: object({
    upload_id: Text,
    credentials: listOf(object({ url: Text, part_number: Type.Integer(), headers: object({}) })),
  }),
  right: editExperiment,
  audit: false,
});

export const completeMultipart = endpoint({
  method: "POST",
  path: ["/api/2.0/mlflow-artifacts/mpu/complete/*", "/api/2.0/mlflow-artifacts/mpu/complete"],
  summary: "Complete a multipart upload.",
  request: Type.Object({
    ...AT,
    upload_id: Text,
    parts: listOf(Type.Object({ part_number: Int, etag: optional(Text) })),
  }),
  answer: Done,
  right: editExperiment,
  audit: false,
});

export const abortMultipart = endpoint({
  method: "POST",
  path: ["/api/2.0/mlflow-artifacts/mpu/abort/*", "/api/2.0/mlflow-artifacts/mpu/abort"],
  summary: "Abort a multipart upload.",
  request: Type.Object({ ...AT, upload_id: Text }),
  answer: Done,
  right: editExperiment,
  audit: false,
});

// Multipart uploads of Anneal's client, which can resume.

export const beginUpload = endpoint({
  method: "POST",
  path: "/api/anneal/artifacts/uploads",
  summary: "Start or resume a multipart upload. Returns the state of each part.",
  request: Type.Object({ path: Text, size: Int, sha256: Digest }),
  answer: Type.Union([
    object({ stored: Type.Literal(true) }),
    object({
      stored: Type.Literal(false),
      upload_id: Text,
      part_size: Type.Integer(),
      /** `etag` if the tracker has the part, otherwise the `url` to send it to. */
      parts: listOf(object({ part_number: Type.Integer(), etag: optional(Text), url: optional(Text) })),
    }),
  ]),
  right: editExperiment,
  audit: false,
});

export const putPart = endpoint({
  method: "PUT",
  path: "/api/anneal/artifacts/parts/:id/:number",
  summary: "Upload a part; the body is the part.",
  request: Type.Object({ id: Text, number: Text, expires: optional(Text), signature: optional(Text) }),
  body: "application/octet-stream",
  answer: Done,
  right: "signature",
});

export const completeUpload = endpoint({
  method: "POST",
  path: "/api/anneal/artifacts/uploads/:upload_id/complete",
  summary: "Complete a multipart upload.",
  request: Type.Object({
    upload_id: Text,
    size: Int,
    sha256: Digest,
    parts: listOf(Type.Object({ part_number: Int, etag: Text })),
  }),
  answer: Done,
  right: editExperiment,
  audit: false,
});

export const abortUpload = endpoint({
  method: "DELETE",
  path: "/api/anneal/artifacts/uploads/:upload_id",
  summary: "Abort an upload and remove its parts.",
  request: Type.Object({ upload_id: Text }),
  answer: Done,
  right: editExperiment,
});
