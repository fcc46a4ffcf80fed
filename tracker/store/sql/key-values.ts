import type { KeyValue } from "../types.ts";
import { type Connection, chunks, push } from "./database.ts";

/**
 * Tags, parameters and similar pairs, by owner.
 * @param table with the columns `key` and `value`
 * @param owner the column of the owner
 * @returns sorted by key; owners without pairs have no entry
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
