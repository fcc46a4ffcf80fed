import { resolve } from "node:path";
import type { ArtifactIndex } from "../store/store.ts";
import type { Artifacts } from "./artifacts.ts";
import { diskArtifacts } from "./disk.ts";
import { ABANDONED } from "./uploads.ts";

/**
 * Opens a store of artifacts.
 * @param location a folder, which is created if necessary, or `s3://bucket/prefix`
 * @throws an Error that says why it cannot be used
 */
export async function openArtifacts(location: string, index: ArtifactIndex): Promise<Artifacts> {
  return swept(/^s3:/i.test(location) ? await openS3(location, index) : diskArtifacts(resolve(location), index));
}

async function openS3(location: string, index: ArtifactIndex): Promise<Artifacts> {
  // The SDK is loaded only if needed, because it takes time and memory.
  const [{ openBucket }, { s3Artifacts }] = await Promise.all([import("./s3-client.ts"), import("./s3.ts")]);
  return s3Artifacts(await openBucket(location), index);
}

/** Removes unfinished uploads, now and every hour. */
function swept(artifacts: Artifacts): Artifacts {
  // Failures are retried in an hour.
  const sweep = () => artifacts.uploads.sweep(Date.now() - ABANDONED).catch(() => undefined);
  let last = sweep();
  const timer = setInterval(() => {
    last = sweep();
  }, 3_600_000);
  timer.unref();
  return {
    ...artifacts,
    async close() {
      clearInterval(timer);
      await last;
      await artifacts.close();
    },
  };
}
