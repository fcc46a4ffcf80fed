import type { ArtifactIndex } from "../store.ts";
import type { ArtifactRecord } from "../types.ts";
import type { Database } from "./database.ts";

export function artifactIndex(db: Database): ArtifactIndex {
  const upsert = db.prepare(
    "INSERT INTO artifact_files VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET size = excluded.size, sha256 = excluded.sha256, created_at = excluded.created_at",
  );
  interface Row {
    path: string;
    size: number;
    sha256: string;
    created_at: number;
  }
  const fromRow = ({ path, size, sha256, created_at }: Row): ArtifactRecord => ({
    path,
    size,
    sha256,
    createdAt: created_at,
  });
  const select = db.prepare<Row>("SELECT * FROM artifact_files WHERE path = ?");
  const same = db.prepare<Row>(
    "SELECT * FROM artifact_files WHERE sha256 = ? AND size = ? ORDER BY created_at DESC LIMIT 8",
  );
  // "0" is the character after "/": all paths that begin with `path/` lie between the two.
  const remove = db.prepare("DELETE FROM artifact_files WHERE path = ? OR (path > ? AND path < ?)");

  return {
    async record({ path, size, sha256, createdAt }) {
      upsert.run(path, size, sha256, createdAt);
    },
    async find(path): Promise<ArtifactRecord | undefined> {
      const row = select.get(path);
      return row && fromRow(row);
    },
    async withDigest(sha256, size) {
      return same.all(sha256, size).map(fromRow);
    },
    async remove(path) {
      remove.run(path, `${path}/`, `${path}0`);
    },
  };
}
