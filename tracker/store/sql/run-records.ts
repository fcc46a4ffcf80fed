import { invalid, missing } from "../../errors.ts";
import type { Lifecycle, Run, RunStatus } from "../types.ts";
import type { Connection } from "./database.ts";

export interface RunRecord {
  seq: number;
  run_id: string;
  experiment_id: number;
  name: string;
  user_id: string;
  status: RunStatus;
  start_time: number;
  end_time: number | null;
  artifact_uri: string;
  lifecycle: Lifecycle;
  /** 1 if its heartbeats ended while it was running. */
  lost: number;
}

export const toRun = (row: RunRecord): Run => ({
  id: row.run_id,
  experimentId: String(row.experiment_id),
  name: row.name,
  userId: row.user_id,
  status: row.status,
  startTime: row.start_time,
  endTime: row.end_time,
  artifactUri: row.artifact_uri,
  lifecycle: row.lifecycle,
});

export async function findRun(db: Connection, id: string, { lock = false } = {}): Promise<RunRecord> {
  const row = await db.get<RunRecord>(`SELECT * FROM runs WHERE run_id = ?${lock ? db.dialect.lock : ""}`, id);
  if (!row) throw missing(`Run with id=${id} not found`);
  return row;
}

/** Returns a writable run, locked against other writers until the transaction ends. */
export async function activeRun(tx: Connection, id: string): Promise<RunRecord> {
  const row = await findRun(tx, id, { lock: true });
  if (row.lifecycle !== "active") {
    throw invalid(`The run ${id} must be in the 'active' state. Current state is deleted.`);
  }
  return row;
}
