import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { actingAs } from "../access/principal.ts";
import { protectArtifacts } from "../access/protect/artifacts.ts";
import { protectStore } from "../access/protect/store.ts";
import { TrackerError } from "../errors.ts";
import type { Tracker } from "../tracker.ts";
import { asRequest } from "../turn.ts";
import { accessRoutes } from "./access.ts";
import { annealRoutes, gateResult } from "./anneal.ts";
import { artifactProxy, artifactRoutes, downloadRoutes, uploadArtifactRoute } from "./artifacts.ts";
import { recordOthers } from "./audit.ts";
import { duplicateRoutes } from "./duplicates.ts";
import { evaluationDatasetRoutes, scorerRoutes } from "./evaluation.ts";
import { eventRoutes } from "./events.ts";
import { experimentRoutes } from "./experiments.ts";
import { graphqlRoute } from "./graphql.ts";
import { loggedModelRoutes } from "./logged-models.ts";
import { metricRoutes } from "./metrics.ts";
import { multipartRoutes, partRoutes, uploadRoutes } from "./multipart.ts";
import { pageRoutes } from "./pages.ts";
import { registryRoutes } from "./registry.ts";
import { runRoutes } from "./runs.ts";
import { rootRoutes, serverInfoRoute } from "./server.ts";
import { otlpRoutes, pageTraceRoute, spanRoutes, traceRoutes } from "./traces.ts";
import { traceV2Routes } from "./traces-v2.ts";
import { webhookRoutes } from "./webhooks.ts";

export interface TrackerPluginOptions {
  tracker: Tracker;
}

/** Sends an error in MLflow's format. */
export function answerError(
  error: FastifyError | TrackerError | Error,
  request: FastifyRequest,
  reply: FastifyReply,
): void {
  if (reply.raw.headersSent) return void reply.raw.destroy();
  // A failed download must not have the headers of the file.
  for (const header of ["content-length", "content-range", "content-disposition", "etag"]) reply.removeHeader(header);
  reply.type("application/json; charset=utf-8");
  if (error instanceof TrackerError) {
    if (error.statusCode === 503) reply.header("retry-after", 1);
    const { gates, ...details } = error.details as { gates?: Parameters<typeof gateResult>[0][] };
    const shown = gates ? { gates: gates.map(gateResult) } : {};
    return void reply
      .code(error.statusCode)
      .send({ error_code: error.code, message: error.message, ...details, ...shown });
  }
  const status = "statusCode" in error ? error.statusCode : undefined;
  if ("code" in error && error.code === "FST_ERR_CTP_BODY_TOO_LARGE") {
    const message = "The request's body is too large: send smaller batches.";
    return void reply.code(400).send({ error_code: "INVALID_PARAMETER_VALUE", message });
  }
  // Refused by the enclosing server. Clients must be able to distinguish this from an invalid request.
  if (status === 401 || status === 403) {
    const error_code = status === 401 ? "UNAUTHENTICATED" : "PERMISSION_DENIED";
    return void reply.code(status).send({ error_code, message: error.message });
  }
  if (status !== undefined && status >= 400 && status < 500) {
    return void reply.code(400).send({ error_code: "BAD_REQUEST", message: error.message });
  }
  // A client that hung up is no fault of the server.
  const hungUp = "code" in error && error.code === "ECONNRESET";
  // The studio has no logger. The query is left out, because it may have a token.
  if (!hungUp)
    process.stderr.write(`${request.method} ${request.url.split("?")[0]} failed: ${error.stack ?? error.message}\n`);
  reply.code(500).send({ error_code: "INTERNAL_ERROR", message: `Internal error of the tracker: ${error.message}` });
}

function answerUnknown(request: FastifyRequest, reply: FastifyReply): void {
  reply.code(404).send({
    error_code: "ENDPOINT_NOT_FOUND",
    message: `No endpoint ${request.method} ${request.url.split("?")[0]}.`,
  });
}

/** A scope that reads bodies as text, whatever their content type, and sends errors in MLflow's format. */
function textScope(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", { parseAs: "string" }, (_request, body, done) => done(null, body));
  app.setErrorHandler(answerError);
}

/** Like `textScope`, with MLflow's error for unknown endpoints. */
function jsonScope(app: FastifyInstance): void {
  textScope(app);
  app.setNotFoundHandler(answerUnknown);
}

/** A scope that passes bodies as streams. */
function streamScope(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", (_request, payload, done) => done(null, payload));
  app.setErrorHandler(answerError);
}

/**
 * The tracker as a Fastify plugin: MLflow's REST protocol, the extensions under /api/anneal, and the pages under
 * /tracker. Each request is handled as its `principal`, which {@link guard} sets; a request without one is refused.
 */
export async function trackerPlugin(app: FastifyInstance, options: TrackerPluginOptions): Promise<void> {
  const tracker: Tracker = {
    ...options.tracker,
    store: protectStore(options.tracker.store),
    artifacts: protectArtifacts(options.tracker.artifacts, options.tracker.store.experiments),
  };
  app.addHook("preHandler", (request, _reply, done) => {
    const { principal } = request;
    asRequest(() => (principal ? actingAs(principal, done) : done()));
  });
  recordOthers(app, options.tracker.store.access);

  app.decorate("handlers", new Map());
  rootRoutes(app);

  for (const prefix of ["/api/2.0/mlflow", "/ajax-api/2.0/mlflow"]) {
    await app.register(
      async (scope) => {
        jsonScope(scope);
        experimentRoutes(scope, tracker);
        runRoutes(scope, tracker);
        metricRoutes(scope, tracker);
        registryRoutes(scope, tracker);
        loggedModelRoutes(scope, tracker);
        webhookRoutes(scope, tracker);
        traceV2Routes(scope, tracker);
        artifactRoutes(scope, tracker);
        downloadRoutes(scope, tracker);
      },
      { prefix },
    );
  }
  for (const prefix of ["/api/3.0/mlflow", "/ajax-api/3.0/mlflow"]) {
    await app.register(
      async (scope) => {
        jsonScope(scope);
        spanRoutes(scope, tracker);
        traceRoutes(scope, tracker);
        evaluationDatasetRoutes(scope, tracker);
        scorerRoutes(scope, tracker);
        serverInfoRoute(scope);
      },
      { prefix },
    );
  }
  await app.register(async (scope) => {
    scope.setErrorHandler(answerError);
    otlpRoutes(scope, tracker);
  });
  for (const prefix of ["/api/2.0/mlflow-artifacts", "/ajax-api/2.0/mlflow-artifacts"]) {
    await app.register(
      async (scope) => {
        streamScope(scope);
        scope.setNotFoundHandler(answerUnknown);
        artifactProxy(scope, tracker);
      },
      { prefix },
    );
    await app.register(
      async (scope) => {
        textScope(scope);
        multipartRoutes(scope, tracker);
      },
      { prefix },
    );
  }
  await app.register(
    async (scope) => {
      streamScope(scope);
      uploadArtifactRoute(scope, tracker);
    },
    { prefix: "/ajax-api/2.0/mlflow" },
  );
  await app.register(
    async (scope) => {
      streamScope(scope);
      // The signed address authorizes the request.
      partRoutes(scope, options.tracker);
    },
    { prefix: "/api/anneal" },
  );
  await app.register(
    async (scope) => {
      jsonScope(scope);
      uploadRoutes(scope, tracker);
      duplicateRoutes(scope, tracker);
      annealRoutes(scope, tracker);
      pageTraceRoute(scope, tracker);
      accessRoutes(scope, tracker);
      eventRoutes(scope, tracker);
    },
    { prefix: "/api/anneal" },
  );
  await app.register(async (scope) => {
    jsonScope(scope);
    downloadRoutes(scope, tracker);
    graphqlRoute(scope);
  });
  await app.register(pageRoutes, { prefix: "/tracker" });
}
