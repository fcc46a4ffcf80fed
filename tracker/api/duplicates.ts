import type { FastifyInstance } from "fastify";
import { currentPrincipal } from "../access/principal.ts";
import { subjectOf } from "../access/protect/checks.ts";
import { join } from "../artifacts/locations.ts";
import { int } from "../message.ts";
import type { Tracker } from "../tracker.ts";
import * as endpoints from "./endpoints/artifacts.ts";
import { route } from "./route.ts";

/**
 * Copies a stored file to another path by its SHA-256, so that the client need not upload it again. Knowing a digest does
 * not prove having the file, as digests appear in logs, model cards and lockfiles. So only files that the user may read
 * are considered, and the response does not reveal whether others exist.
 */
export function duplicateRoutes(app: FastifyInstance, { artifacts, store }: Tracker): void {
  route(app, endpoints.copyArtifact, async (message) => {
    const path = join("", message.path);
    const principal = currentPrincipal();
    principal.need("editor", subjectOf(path));
    for (const stored of await store.artifacts.withDigest(message.sha256, int(message.size, "size"))) {
      if (!principal.may("viewer", subjectOf(stored.path))) continue;
      if (await artifacts.copy(stored, path)) return { copied: true };
    }
    return { copied: false };
  });
}
