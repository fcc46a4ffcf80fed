import { readFileSync } from "node:fs";
import type { FastifyInstance } from "fastify";
import { getDocument, getHealth, getServerInfo, getServerVersion } from "./endpoints/server.ts";
import { openApiDocument } from "./openapi.ts";
import { JsonText, route } from "./route.ts";

const VERSION: string = (() => {
  // The nearest package.json above is the package's, from the sources and from dist alike.
  for (const up of ["../../package.json", "../../../package.json"]) {
    try {
      const { name, version } = JSON.parse(readFileSync(new URL(up, import.meta.url), "utf8"));
      if (name === "anneal" && typeof version === "string") return version;
    } catch {
      // Not there: the next.
    }
  }
  return "0.0.0";
})();

/** What a server says of itself, at the root. */
export function rootRoutes(app: FastifyInstance): void {
  route(app, getHealth, async (_message, _request, reply) => reply.type("text/plain").send("OK"));
  route(app, getServerVersion, async (_message, _request, reply) => reply.type("text/plain").send(VERSION));

  let document: JsonText | undefined;

  route(app, getDocument, async () => {
    document ??= new JsonText(JSON.stringify(openApiDocument(VERSION)));
    return document;
  });
}

/** What MLflow's newer clients ask before they send a file in parts. For /api/3.0/mlflow. */
export function serverInfoRoute(app: FastifyInstance): void {
  route(app, getServerInfo, async () => ({ multipart_uploads_enabled: true, multipart_downloads_enabled: false }));
}
