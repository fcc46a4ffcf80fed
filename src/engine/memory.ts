import { totalmem } from "node:os";
import type { DType, Tensor } from "../tensor/index.ts";
import type { Program } from "./program.ts";

const width: Record<DType, number> = {
  float32: 4,
  float16: 2,
  bfloat16: 2,
  int8: 1,
  uint8: 1,
  int32: 4,
  int64: 8,
  bool: 1,
};
const bytesOf = ({ size, dtype }: Tensor) => size * width[dtype];

/** Operators whose result shares the memory of their first input. */
const views = new Set(["reshape", "stopGradient", "custom", "after"]);
/** Operators that may write their result over an operand that is not used again. */
const overwriting = new Set(["add", "sub", "mul", "div", "neg", "exp", "sqrt", "sigmoid", "tanh", "relu", "where"]);

/** Memory that a program needs while it runs, in bytes. */
export interface MemoryNeed {
  /** Parameters, optimizer state and other variables, which stay between runs. */
  variables: number;
  /** Peak size of intermediate results, when each is freed after its last use. */
  workspace: number;
}

/** Estimates the memory that a program needs; runtimes order operations and reuse memory in their own way. */
export function estimateMemory(program: Program): MemoryNeed {
  const results = new Set([...Object.values(program.outputs), ...Object.values(program.updates)]);
  const owner = new Map<Tensor, Tensor>();
  const ownerOf = (t: Tensor): Tensor => owner.get(t) ?? t;
  const uses = new Map<Tensor, number>();
  for (const node of program.nodes) {
    if (views.has(node.operator.name)) owner.set(node, ownerOf(node.inputs[0]));
    for (const i of node.inputs) uses.set(ownerOf(i), (uses.get(ownerOf(i)) ?? 0) + 1);
  }
  let variables = 0;
  let allocated = 0;
  let workspace = 0;
  for (const node of program.nodes) {
    if (node.operator.name === "variable") variables += bytesOf(node);
    const owned = node.inputs.length > 0 && !owner.has(node);
    let freed = 0;
    for (const i of node.inputs) {
      const source = ownerOf(i);
      const left = (uses.get(source) ?? 0) - 1;
      uses.set(source, left);
      if (left === 0 && source.inputs.length > 0 && !results.has(source)) freed += bytesOf(source);
    }
    if (owned) {
      const peak = allocated + bytesOf(node) - (overwriting.has(node.operator.name) ? freed : 0);
      workspace = Math.max(workspace, peak);
      allocated += bytesOf(node);
    }
    allocated -= freed;
  }
  return { variables, workspace };
}

/** Returns the maximum memory of this process in bytes: the machine's, or its container's limit. */
export function memoryLimit(): number {
  const constrained = process.constrainedMemory?.() ?? 0;
  return constrained > 0 && constrained < totalmem() ? constrained : totalmem();
}

/** Formats bytes: `1.3 GB`. */
export function showBytes(bytes: number): string {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(bytes) / 3));
  const value = bytes / 1000 ** power;
  return `${power === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[power]}`;
}
