import type { ArtifactIndex } from "../store.ts";
import type { ArtifactRecord } from "../types.ts";
import type { Database } from "./database.ts";

export function artifactIndex(db: Database): ArtifactIndex {
  const upsert = db.prepare(
    "INSERT INTO artifact_files VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET size = excluded.size, sha256 = excluded.sha256, created_at = excluded.created_at",
  );
  const select = db.prepare<{ path: string; size: number; sha256: string; created_at: number }>(
    "SELECT * FROM artifact_files WHERE path = ?",
  );
  // "0" is the character after "/": all paths that begin with `path/` lie between the two.
  const remove = db.prepare("DELETE FROM artifact_files WHERE path = ? OR (path > ? AND path < ?)");

  return {
    async record({ path, size, sha256, createdAt }) {
      upsert.run(path, size, sha256, createdAt);
    },
    async find(path): Promise<ArtifactRecord | undefined> {
      const row = select.get(path);
      return row && { path: row.path, size: row.size, sha256: row.sha256, createdAt: row.created_at };
    },
    async remove(path) {
      remove.run(path, `${path}/`, `${path}0`);
    },
  };
}
