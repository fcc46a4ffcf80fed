import { readFileSync } from "node:fs";
import type { FastifyInstance } from "fastify";
import { getDocument, getHealth, getServerInfo, getServerVersion } from "./endpoints/server.ts";
import { JsonText } from "./json-text.ts";
import { openApiDocument } from "./openapi.ts";
import { route } from "./route.ts";

/** The version of MLflow whose API is served. MLflow's clients send spans, for example, only to a server of 3.4 or later. */
const MLFLOW_VERSION = "3.6.0";

/** Anneal's version, which the API document has. */
const VERSION: string = (() => {
  // The nearest package.json above, both from the sources and from dist.
  for (const up of ["../../package.json", "../../../package.json"]) {
    try {
      const { name, version } = JSON.parse(readFileSync(new URL(up, import.meta.url), "utf8"));
      if (name === "anneal" && typeof version === "string") return version;
    } catch {
      // Try the next one.
    }
  }
  return "0.0.0";
})();

/** The routes at the root: /health and /version. */
export function rootRoutes(app: FastifyInstance): void {
  route(app, getHealth, async (_message, _request, reply) => reply.type("text/plain").send("OK"));
  route(app, getServerVersion, async (_message, _request, reply) => reply.type("text/plain").send(MLFLOW_VERSION));

  let document: JsonText | undefined;

  route(app, getDocument, async () => {
    document ??= new JsonText(JSON.stringify(openApiDocument(VERSION)));
    return document;
  });
}

/** `/api/3.0/mlflow/server-info`, which new MLflow clients request before a multipart upload. */
export function serverInfoRoute(app: FastifyInstance): void {
  route(app, getServerInfo, async () => ({ multipart_uploads_enabled: true, multipart_downloads_enabled: false }));
}
