import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Fastify from "fastify";
import { type S3Server, startS3 } from "../../tests/s3/server.ts";
import { guard } from "../access/guard.ts";
import { trackerPlugin } from "../api/plugin.ts";
import { newStore } from "../testing.ts";
import { openTracker, type Tracker } from "../tracker.ts";

export const sha256 = (bytes: Uint8Array | string): string => createHash("sha256").update(bytes).digest("hex");
export const contentDigest = (bytes: Uint8Array | string): string =>
  `sha-256=:${createHash("sha256").update(bytes).digest("base64")}:`;

/** A tracker over HTTP, whose artifacts lie on disk or in S3. */
export interface Served {
  /** Of the artifact proxy, without a slash at its end. */
  url: string;
  origin: string;
  tracker: Tracker;
  dataDir: string;
  /** The store behind it, where it is one of ours. */
  s3: S3Server | undefined;
  /** Simulates a process restart. */
  restart(): Promise<void>;
  close(): Promise<void>;
}

/**
 * Serves a tracker on a folder of its own. With ANNEAL_TEST_S3=s3://bucket in the environment, S3 is the store that
 * AWS_ENDPOINT_URL_S3 and the credentials name.
 */
export async function serveArtifacts(kind: "disk" | "S3"): Promise<Served> {
  const dataDir = mkdtempSync(join(tmpdir(), "anneal-artifacts-"));
  const outside = process.env.ANNEAL_TEST_S3;
  const s3 = kind === "S3" && !outside ? await startS3() : undefined;
  if (s3) setS3Environment(s3);
  const location =
    kind === "disk" ? join(dataDir, "artifacts") : `${outside ?? "s3://artifacts"}/${randomBytes(4).toString("hex")}`;
  const options = { dataDir, artifacts: location, ...(await newStore()) };

  const open = async (port: number) => {
    const tracker = await openTracker(options);
    const app = Fastify({ forceCloseConnections: true, routerOptions: { maxParamLength: 4096 } });
    await guard(app, { token: undefined, host: "127.0.0.1", access: tracker.store.access });
    await app.register(trackerPlugin, { tracker });
    return { tracker, app, origin: await app.listen({ host: "127.0.0.1", port }) };
  };
  let running = await open(0);
  const { origin } = running;
  const stop = async (): Promise<void> => {
    await running.app.close();
    await running.tracker.close();
  };
  const served: Served = {
    url: `${origin}/api/2.0/mlflow-artifacts/artifacts`,
    origin,
    tracker: running.tracker,
    dataDir,
    s3,
    async restart() {
      await stop();
      running = await open(Number(new URL(origin).port));
      served.tracker = running.tracker;
    },
    async close() {
      await stop();
      await s3?.close();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
  return served;
}

/** Makes a test's S3 the one that this process finds. */
export function setS3Environment({ url, credentials }: S3Server): void {
  Object.assign(process.env, {
    AWS_ENDPOINT_URL_S3: url,
    AWS_ACCESS_KEY_ID: credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
    AWS_REGION: "eu-west-1",
  });
}
