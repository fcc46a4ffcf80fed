import { readFileSync } from "node:fs";
import { decodeSafetensors } from "../src/models/index.ts";
import type { HostValue } from "../src/tensor/index.ts";
import { referencePath } from "./reference.ts";

/** Reads the tensors of a safetensors file of reference numbers, by name. */
export function referenceTensors(path: string): Record<string, HostValue> {
  return decodeSafetensors(readFileSync(referencePath(path)), path);
}
