import { resolve } from "node:path";

/** The folder that holds everything Anneal keeps: ANNEAL_DATA, or `.anneal` in the working folder. */
export function dataFolder(): string {
  return resolve(process.env.ANNEAL_DATA || ".anneal");
}
