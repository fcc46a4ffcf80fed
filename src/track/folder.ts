import { resolve } from "node:path";

/** Returns the folder of all of Anneal's data: ANNEAL_DATA, or `.anneal` in the working folder. */
export function dataFolder(): string {
  return resolve(process.env.ANNEAL_DATA || ".anneal");
}
