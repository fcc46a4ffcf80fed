import { join } from "node:path";
import { root } from "./reference.ts";

/** Path of a sample in `tests/faults/training`: inputs of former bugs. */
export const faultPath = (name: string): string => join(root, "tests/faults/training", name);
