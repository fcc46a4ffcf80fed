import type { Artifacts } from "../../artifacts/artifacts.ts";
import { TrackerError } from "../../errors.ts";
import type { ExperimentStore } from "../../store/store.ts";
import { folderCheck, need, subjectOf } from "./checks.ts";

/** Wraps artifacts so that each call checks the principal's rights. */
export function protectArtifacts(artifacts: Artifacts, experiments: ExperimentStore): Artifacts {
  const { uploads } = artifacts;
  const needFolder = folderCheck(experiments);
  const needUpload = async (id: string): Promise<void> => need("editor", subjectOf(await uploads.pathOf(id)));
  return {
    async put(path, content, expected) {
      await needFolder(path);
      return artifacts.put(path, content, expected);
    },
    async get(path) {
      need("viewer", subjectOf(path));
      return artifacts.get(path);
    },
    async list(path) {
      need("viewer", subjectOf(path));
      return artifacts.list(path);
    },
    async remove(path) {
      need("editor", subjectOf(path));
      await artifacts.remove(path);
    },
    async copy(from, path) {
      need("viewer", subjectOf(from.path));
      await needFolder(path);
      return artifacts.copy(from, path);
    },
    uploads: {
      async begin(path, key) {
        await needFolder(path);
        return uploads.begin(path, key);
      },
      async pathOf(id) {
        await needUpload(id);
        return uploads.pathOf(id);
      },
      async parts(id) {
        await needUpload(id);
        return uploads.parts(id);
      },
      async putPart(id, number, content, expected) {
        await needUpload(id);
        return uploads.putPart(id, number, content, expected);
      },
      async complete(id, parts, expected) {
        await needUpload(id);
        await uploads.complete(id, parts, expected);
      },
      async abort(id) {
        await needUpload(id);
        await uploads.abort(id);
      },
      async sweep() {
        throw new TrackerError("PERMISSION_DENIED", "This operation is not available to requests.");
      },
    },
    close: artifacts.close,
  };
}
