/** What notebooks written for tslab import as "tslab". (https://github.com/yunabe/tslab) */
import { display, newDisplay, type Shows } from "./show.ts";

export { newDisplay };
export type Display = Shows;

const shows: Shows = display;

export { shows as display };

/** Versions, as tslab tells them. */
export const versions: { tslab: string; typescript: string; node: string } = {
  tslab: "1.0.22",
  typescript: "7",
  node: process.versions.node,
};
