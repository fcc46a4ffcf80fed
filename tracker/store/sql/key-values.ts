import type { KeyValue } from "../types.ts";
import { type Connection, chunks, push } from "./database.ts";

/**
 * Tags, parameters and their like, by whom they hang on.
 * @param table with the columns `key` and `value`
 * @param owner its column that says whose they are
 * @returns sorted by key; nothing for an owner that has none
 */
export async function keyValuesOf<Id extends string | number>(
  db: Connection,
  table: string,
  owner: string,
  ids: readonly Id[],
): Promise<Map<Id, KeyValue[]>> {
  const lists = new Map<Id, KeyValue[]>();
  for (const part of chunks(ids, 200)) {
    const found = await db.all<KeyValue & { id: Id }>(
      `SELECT ${owner} AS id, key, value FROM ${table} WHERE ${db.dialect.among(owner)} ORDER BY ${owner}, key`,
      part,
    );
    for (const { id, key, value } of found) push(lists, id, { key, value });
  }
  return lists;
}
