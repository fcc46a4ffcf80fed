import type { Readable } from "node:stream";
import type { ArtifactFile, Artifacts, Expected } from "../artifacts/artifacts.ts";
import { measured } from "../artifacts/measure.ts";
import { ownPath } from "../artifacts/paths.ts";
import { TrackerError } from "../errors.ts";
import type { RegisteredStore, VersionFile, VersionName } from "../store/store.ts";
import { digestOf } from "./files.ts";

type Held = VersionName & VersionFile;

/** The number of files that are remembered as verified. */
const REMEMBERED = 10_000;

const heldBy = ({ name, version }: VersionName): string => `version ${version} of the registered model ${name}`;

/**
 * Artifacts in which the files of registered versions cannot change: they are not written or removed, nothing is added to
 * their folders, and they are verified when they are read.
 */
export function registeredArtifacts(artifacts: Artifacts, registered: RegisteredStore): Artifacts {
  const { uploads } = artifacts;

  /** @throws RESOURCE_CONFLICT if files of a version lie at a path, in it, or around it */
  const refuseHeld = async (path: string): Promise<void> => {
    const [holder] = await registered.holders(ownPath(path));
    if (!holder) return;
    throw new TrackerError(
      "RESOURCE_CONFLICT",
      `The files at '${path}' belong to ${heldBy(holder)}, and cannot change. Use another path, or delete that version first.`,
    );
  };

  /** Returns the record of a file, to compare it with what is sent again; refuses what is not in the record. */
  const writable = async (path: string): Promise<Held | undefined> => {
    const held = await registered.file(ownPath(path));
    if (!held) await refuseHeld(path);
    return held;
  };

  /** Digests of files that were read in full, by what identifies their content. */
  const verified = new Map<string, Promise<string>>();
  const digest = (path: string, { revision }: ArtifactFile): Promise<string> => {
    const key = `${revision} ${path}`;
    const known = verified.get(key) ?? digestOf(artifacts, path);
    verified.delete(key);
    verified.set(key, known);
    known.catch(() => verified.delete(key));
    for (const oldest of verified.keys()) {
      if (verified.size <= REMEMBERED) break;
      verified.delete(oldest);
    }
    return known;
  };

  const changed = (path: string, held: Held) =>
    new TrackerError(
      "RESOURCE_CONFLICT",
      `The file '${path}' of ${heldBy(held)} is not the one that was registered, and is not served. Restore it from a backup, or register the model again.`,
    );

  return {
    ...artifacts,

    async put(path, content, expected = {}) {
      const held = await writable(path);
      if (!held) return artifacts.put(path, content, { ...expected, ready: () => refuseHeld(path) });
      // A client that did not get the answer sends the file again.
      const sent = await digestOfStream(content, expected);
      if (sent.sha256 !== held.sha256) await refuseHeld(path);
      return sent;
    },

    async get(path) {
      const file = await artifacts.get(path);
      const held = await registered.file(ownPath(path));
      if (!held) return file;
      const { size, sha256 } = held;
      if (file.size !== size) throw changed(path, held);
      return {
        ...file,
        sha256,
        async open(range) {
          // Of a whole file, the last bytes are held back until the digest is known. A part says nothing of the whole.
          if (range === undefined) return verifying(await file.open(), sha256, () => changed(path, held));
          if ((await digest(path, file)) !== sha256) throw changed(path, held);
          return file.open(range);
        },
      };
    },

    async remove(path) {
      await refuseHeld(path);
      await artifacts.remove(path);
    },

    async copy(from, path) {
      const held = await writable(path);
      if (!held) return artifacts.copy(from, path);
      if (held.sha256 !== from.sha256) await refuseHeld(path);
      return true;
    },

    uploads: {
      ...uploads,
      async begin(path, key) {
        await refuseHeld(path);
        return uploads.begin(path, key);
      },
      async complete(id, parts, expected = {}) {
        const path = await uploads.pathOf(id);
        await refuseHeld(path);
        await uploads.complete(id, parts, { ...expected, ready: () => refuseHeld(path) });
      },
    },
  };
}

async function digestOfStream(content: Readable, expected: Expected): Promise<{ size: number; sha256: string }> {
  const measure = measured(content, expected);
  for await (const _ of measure);
  return { size: measure.count, sha256: measure.sha256 };
}

/** Passes a file on, and fails before its end if it does not have the digest. */
function verifying(content: Readable, sha256: string, failure: () => Error): Readable {
  const measure = measured(content, {
    async ready() {
      if (measure.sha256 !== sha256) throw failure();
    },
  });
  measure.once("close", () => content.destroy());
  return measure;
}
