import { type Tensor, topological } from "../tensor/index.ts";

/** What a run of a program computes: outputs and new values of variables, from inputs and variables. */
export interface ProgramDefinition {
  /** Description for errors: "the training step, 8 x 512 tokens". */
  name?: string;
  /** Values to return, by name. */
  outputs?: Readonly<Record<string, Tensor>>;
  /** New values of variables, by the variable's name; they stay on the device. */
  updates?: Readonly<Record<string, Tensor>>;
}

/** A validated program: its graph in topological order. */
export interface Program {
  readonly nodes: readonly Tensor[];
  readonly inputs: readonly Tensor<"input">[];
  readonly variables: readonly Tensor<"variable">[];
  readonly outputs: Readonly<Record<string, Tensor>>;
  readonly updates: Readonly<Record<string, Tensor>>;
  /** Variables whose new value may overwrite the old one during the run. */
  readonly inPlace: ReadonlySet<string>;
}

/** Thrown when a program's definition or its inputs are invalid. */
export class ProgramError extends Error {
  override name = "ProgramError";
}

/**
 * Validates a definition and sorts its graph.
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
    if (!variable) continue; // Written but never read: the first run creates it.
    if (`${value.dtype}${value.shape}` !== `${variable.dtype}${variable.shape}`) {
      throw new ProgramError(
        `The update of ${name} is ${value.dtype} [${value.shape}], but the variable is ${variable.dtype} [${variable.shape}].`,
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
  if (leaves.has(name)) throw new ProgramError(`Two different leaves are named ${name}; create one and share it.`);
  leaves.set(name, node);
}

const elementwise = new Set(["add", "sub", "mul", "div", "where", "maximum", "minimum"]);

/**
 * Returns the variables that can be updated in place. That is safe when all reads of the variable finish before the last
 * operation of its update starts, which holds if every reader is an ancestor of that operation. The operation itself may
 * read the variable if it is elementwise. This halves the memory of a training step, whose state is three times the model.
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
  // Variables that are themselves outputs or updates are copied at an undefined time.
  const copied = new Set([...outputs, ...Object.values(updates)]);
  for (const [name, value] of Object.entries(updates)) {
    const variable = variables.get(name);
    if (
      !variable ||
      copied.has(variable) ||
      shared.has(value) ||
      outputs.has(value) ||
      !elementwise.has(value.operator.name)
    )
      continue;
    shared.add(value);
    const otherReaders = (readers.get(variable) ?? []).filter((reader) => reader !== value);
    if (dependsOnAll(value, otherReaders)) result.add(name);
  }
  return result;
}

/** Whether `value` depends on all of `targets`. Stops as early as possible. */
function dependsOnAll(value: Tensor, targets: readonly Tensor[]): boolean {
  const missing = new Set(targets);
  // Ids increase in creation order: tensors older than all targets do not depend on any of them.
  const oldest = targets.reduce((least, { id }) => Math.min(least, id), value.id);
  const visited = new Set<Tensor>();
  const stack = [...value.inputs];
  for (let next = stack.pop(); next && missing.size > 0; next = stack.pop()) {
    if (next.id < oldest || visited.has(next)) continue;
    visited.add(next);
    missing.delete(next);
    stack.push(...next.inputs);
  }
  return missing.size === 0;
}
