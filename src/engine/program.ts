import { type Tensor, topological } from "../tensor/index.ts";

/** What one run of a program does: from inputs and variables to outputs and new values of variables. */
export interface ProgramDefinition {
  /** What it is, for errors: "the training step, 8 x 512 tokens". */
  name?: string;
  /** Values to hand back, by name. */
  outputs?: Readonly<Record<string, Tensor>>;
  /** New values of variables, by the variable's name; they stay on the device. */
  updates?: Readonly<Record<string, Tensor>>;
}

/** A checked program: a graph in an order in which it can be run. */
export interface Program {
  readonly nodes: readonly Tensor[];
  readonly inputs: readonly Tensor<"input">[];
  readonly variables: readonly Tensor<"variable">[];
  readonly outputs: Readonly<Record<string, Tensor>>;
  readonly updates: Readonly<Record<string, Tensor>>;
  /** Variables whose new value may be written over the old one while the program runs. */
  readonly inPlace: ReadonlySet<string>;
}

/** A mistake in how a program is put together or fed. */
export class ProgramError extends Error {
  override name = "ProgramError";
}

/**
 * Check a definition and put its graph in order.
 * @throws ProgramError when two leaves share a name, or an update does not fit its variable
 */
export function defineProgram({ outputs = {}, updates = {} }: ProgramDefinition): Program {
  const roots = [...Object.values(outputs), ...Object.values(updates)];
  if (roots.length === 0) throw new ProgramError("A program needs an output or an update.");
  const nodes = topological(roots);
  const inputs = new Map<string, Tensor<"input">>();
  const variables = new Map<string, Tensor<"variable">>();
  for (const node of nodes) {
    if (isLeaf(node, "input")) claim(inputs, node, node.attributes.name);
    if (isLeaf(node, "variable")) claim(variables, node, node.attributes.name);
  }
  for (const [name, value] of Object.entries(updates)) {
    const variable = variables.get(name);
    if (!variable) continue; // Written without being read: it is created by the first run.
    if (`${value.dtype}${value.shape}` !== `${variable.dtype}${variable.shape}`) {
      throw new ProgramError(
        `Update of ${name} is ${value.dtype} [${value.shape}], the variable is ${variable.dtype} [${variable.shape}].`,
      );
    }
  }
  return {
    nodes,
    inputs: [...inputs.values()],
    variables: [...variables.values()],
    outputs,
    updates,
    inPlace: inPlaceUpdates(nodes, variables, updates, new Set(Object.values(outputs))),
  };
}

function isLeaf<K extends "input" | "variable">(node: Tensor, kind: K): node is Tensor & Tensor<K> {
  return node.operator.name === kind;
}

function claim<T extends Tensor>(leaves: Map<string, T>, node: T, name: string): void {
  if (leaves.has(name)) throw new ProgramError(`Two different leaves are named ${name}; make it once and share it.`);
  leaves.set(name, node);
}

const elementwise = new Set(["add", "sub", "mul", "div", "where", "maximum", "minimum"]);

/**
 * A variable may be overwritten where it lies if all that reads it has finished before the last operation of its
 * update begins, which holds when every reader is an ancestor of that operation. The last operation itself may read
 * it if it works element by element. Halves the memory of a training step, whose state is three times the model.
 */
function inPlaceUpdates(
  nodes: readonly Tensor[],
  variables: ReadonlyMap<string, Tensor>,
  updates: Readonly<Record<string, Tensor>>,
  outputs: ReadonlySet<Tensor>,
): Set<string> {
  const readers = new Map<Tensor, Tensor[]>();
  for (const node of nodes) {
    for (const i of node.inputs) if (i.operator.name === "variable") readers.set(i, [...(readers.get(i) ?? []), node]);
  }
  const shared = new Set<Tensor>();
  const result = new Set<string>();
  // What is handed out as it is, is copied at any time.
  const handedOut = new Set([...outputs, ...Object.values(updates)]);
  for (const [name, value] of Object.entries(updates)) {
    const variable = variables.get(name);
    if (
      !variable ||
      handedOut.has(variable) ||
      shared.has(value) ||
      outputs.has(value) ||
      !elementwise.has(value.operator.name)
    )
      continue;
    shared.add(value);
    const others = (readers.get(variable) ?? []).filter((reader) => reader !== value);
    if (dependsOnAll(value, others)) result.add(name);
  }
  return result;
}

/** Whether all of some tensors are among those that `value` depends on. Looks no further than it must. */
function dependsOnAll(value: Tensor, wanted: readonly Tensor[]): boolean {
  const missing = new Set(wanted);
  // Ids grow in the order of building: what is older than all that is looked for leads to none of it.
  const oldest = wanted.reduce((least, { id }) => Math.min(least, id), value.id);
  const seen = new Set<Tensor>();
  const stack = [...value.inputs];
  for (let next = stack.pop(); next && missing.size > 0; next = stack.pop()) {
    if (next.id < oldest || seen.has(next)) continue;
    seen.add(next);
    missing.delete(next);
    stack.push(...next.inputs);
  }
  return missing.size === 0;
}
