import { Type } from "@sinclair/typebox";
import { endpoint } from "./endpoint.ts";
import { Text } from "./fields.ts";
import { object } from "./schemas.ts";

const Nothing = Type.Object({});

export const getHealth = endpoint({
  method: "GET",
  path: "/health",
  summary: "Returns OK while the server runs.",
  request: Nothing,
  answer: "text/plain",
  right: "public",
});

export const getServerVersion = endpoint({
  method: "GET",
  path: "/version",
  summary: "The version of MLflow whose API is served. The version of Anneal is the version of this document.",
  request: Nothing,
  answer: "text/plain",
  right: "signed in",
});

export const getDocument = endpoint({
  method: "GET",
  path: "/api/openapi.json",
  summary: "This document.",
  request: Nothing,
  answer: Type.Object({ openapi: Text }),
  right: "signed in",
});

export const getServerInfo = endpoint({
  method: "GET",
  path: "/api/3.0/mlflow/server-info",
  summary: "The optional MLflow features that this server supports.",
  request: Nothing,
  answer: object({ multipart_uploads_enabled: Type.Boolean(), multipart_downloads_enabled: Type.Boolean() }),
  right: "signed in",
});
