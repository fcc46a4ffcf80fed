import type { FastifyInstance } from "fastify";
import { currentPrincipal } from "../access/principal.ts";
import { subjectOf } from "../access/protect/checks.ts";
import { join } from "../artifacts/locate.ts";
import { int } from "../message.ts";
import type { Tracker } from "../tracker.ts";
import * as endpoints from "./endpoints/artifacts.ts";
import { route } from "./route.ts";

/**
 * Files that the tracker has already, under /api/anneal: a client that names one by its SHA-256 gets it under another path
 * and need not send it. Whoever knows a digest does not thereby have the file, for digests stand in logs, model cards and
 * lockfiles. So only files count that this client may read: of others it does not even learn that they are there.
 */
export function duplicateRoutes(app: FastifyInstance, { artifacts, store }: Tracker): void {
  route(app, endpoints.copyArtifact, async (message) => {
    const path = join("", message.path);
    const principal = currentPrincipal();
    principal.need("editor", subjectOf(path));
    for (const twin of await store.artifacts.withDigest(message.sha256, int(message.size, "size"))) {
      if (!principal.may("viewer", subjectOf(twin.path))) continue;
      if (await artifacts.copy(twin, path)) return { copied: true };
    }
    return { copied: false };
  });
}
