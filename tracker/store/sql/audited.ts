import { currentChange } from "../change.ts";
import type { AuditEntry } from "../types.ts";
import type { Connection, Database } from "./database.ts";

/** Adds an entry to the audit log. */
export async function addEntry(db: Connection, entry: Omit<AuditEntry, "id">): Promise<void> {
  const { at, who, action, target, status } = entry;
  const sql = "INSERT INTO audit_log (at, who, action, target, status) VALUES (?, ?, ?, ?, ?)";
  await db.run(sql, at, who, action, target, status);
}

/**
 * Wraps a database so that the first transaction of a change also writes its entry of the audit log. No change is then
 * without an entry, and none is recorded that was rolled back.
 */
export function audited(db: Database): Database {
  const isPending = (): boolean => currentChange()?.recorded === false;

  /** @param happened whether the work changed anything */
  async function transaction<T>(work: (connection: Connection) => Promise<T>, happened = (_: T) => true): Promise<T> {
    const change = currentChange();
    if (!change || change.recorded) return db.transaction(work);
    const { who, action, target } = change;
    // Set before the work, so that of several transactions at once only one writes the entry.
    change.recorded = true;
    try {
      const { result, written } = await db.transaction(async (connection) => {
        const result = await work(connection);
        const written = happened(result);
        if (written) await addEntry(connection, { at: Date.now(), who, action, target, status: 200 });
        return { result, written };
      });
      change.recorded = written;
      return result;
    } catch (error) {
      change.recorded = false;
      throw error;
    }
  }
  return {
    ...db,
    transaction: (work) => transaction(work),
    run: (sql, ...values) =>
      isPending()
        ? transaction(
            (connection) => connection.run(sql, ...values),
            (rows) => rows > 0,
          )
        : db.run(sql, ...values),
    insertNumbers: (...to) =>
      isPending() ? transaction((connection) => connection.insertNumbers(...to)) : db.insertNumbers(...to),
  };
}
