/** The module "tslab", for notebooks written for tslab (https://github.com/yunabe/tslab). */
import { type DisplayFunctions, display, newDisplay } from "./show.ts";

export { newDisplay };
export type Display = DisplayFunctions;

const displayFunctions: DisplayFunctions = display;

export { displayFunctions as display };

/** Versions, as in tslab. */
export const versions: { tslab: string; typescript: string; node: string } = {
  tslab: "1.0.22",
  typescript: "7",
  node: process.versions.node,
};
