import type { ArtifactIndex } from "../store.ts";
import type { ArtifactRecord } from "../types.ts";
import type { Database } from "./database.ts";

export function artifactIndex(db: Database): ArtifactIndex {
  return {
    async record({ path, size, sha256, createdAt }) {
      await db.run(
        `INSERT INTO artifact_files (path, size, sha256, created_at) VALUES (?, ?, ?, ?)
         ON CONFLICT (path) DO UPDATE SET size = excluded.size, sha256 = excluded.sha256, created_at = excluded.created_at`,
        path,
        size,
        sha256,
        createdAt,
      );
    },
    find: (path) =>
      db.get<ArtifactRecord>(
        `SELECT path, size, sha256, created_at AS "createdAt" FROM artifact_files WHERE path = ?`,
        path,
      ),
    async remove(path) {
      // "0" is the character after "/": all paths that begin with `path/` lie between the two.
      const folder = [`${path}/`, `${path}0`] as const;
      await db.run("DELETE FROM artifact_files WHERE path = ? OR (path > ? AND path < ?)", path, ...folder);
    },
  };
}
