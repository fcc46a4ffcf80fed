/** Stack frames of the paused child, mapped to the source, and their variables. */
import type { Debugger, Runtime } from "node:inspector";
import { child, children, type Node, offsetOf, parse } from "../transform/syntax.ts";
import type { Inspector } from "./inspector.ts";
import type { Position, Sources } from "./sources.ts";
import { describe, isHidden, type References, scopeExpression, type Variable } from "./values.ts";

/** A stack frame. */
export interface Frame {
  id: number;
  name: string;
  position: Position;
  call: Debugger.CallFrame;
  /** Whether it is the top level of a cell, whose variables are those of the notebook. */
  isCell: boolean;
}

const cellFunction = "__anneal_cell";
const maxEntries = 1000;

/** The frames in cells and TypeScript files, innermost first. */
export function framesOf(
  calls: readonly Debugger.CallFrame[],
  urlOf: (scriptId: string) => string | undefined,
  sources: Sources,
  firstId: number,
): Frame[] {
  const frames: Frame[] = [];
  for (const call of calls) {
    const position = sources.original(
      urlOf(call.location.scriptId) ?? "",
      call.location as Required<Debugger.Location>,
    );
    const isCell = call.functionName === cellFunction;
    if (position) {
      const name = isCell ? "cell" : call.functionName || "(anonymous)";
      frames.push({ id: firstId + frames.length, name, position, call, isCell });
    }
    // Frames below it belong to the kernel.
    if (isCell) break;
  }
  return frames;
}

/** Whether a frame is inside a `try` with a `catch`. */
export function isCaught(frames: readonly Frame[], sources: Sources): boolean {
  return frames.some(({ position }) => {
    const text = sources.text(position.path);
    if (text === undefined) return false;
    const offset = offsetOf(text, position.line - 1, position.column - 1);
    const inTry = (node: Node): boolean => {
      if (offset < node.start || offset >= node.end) return false;
      if (node.type === "TryStatement" && child(node, "handler")) {
        const block = child(node, "block");
        if (block && offset >= block.start && offset < block.end) return true;
      }
      return children(node).some(inTry);
    };
    return inTry(parse(text, "ts").program as unknown as Node);
  });
}

/** Reads variables through the inspector. */
export class Variables {
  readonly #inspector: Inspector;
  readonly #references: References;
  /** Whether variables include their type. */
  readonly withTypes: boolean;

  constructor(inspector: Inspector, references: References, withTypes: boolean) {
    this.withTypes = withTypes;
    this.#inspector = inspector;
    this.#references = references;
  }

  /** Creates a variable from a name and a value. */
  variable(name: string, value: Runtime.RemoteObject, evaluateName: string): Variable {
    const { objectId, subtype, type } = value;
    const hasParts = objectId !== undefined && type !== "function" && type !== "symbol" && subtype !== "regexp";
    return {
      name,
      value: describe(value),
      ...(this.withTypes
        ? { type: subtype ?? (value.className === "Object" ? "object" : (value.className ?? type)) }
        : {}),
      evaluateName,
      variablesReference: hasParts ? this.#references.add(() => this.parts(objectId, evaluateName)) : 0,
    };
  }

  /** The properties of an object, and the entries of Maps and Sets. Getters are not called. */
  async parts(objectId: string, parent = ""): Promise<Variable[]> {
    const { result, internalProperties = [] } = await this.#inspector.post<Runtime.GetPropertiesReturnType>(
      "Runtime.getProperties",
      { objectId, ownProperties: true, generatePreview: true },
    );
    const variables: Variable[] = [];
    for (const { name, value, enumerable } of result.slice(0, maxEntries)) {
      if (!value || isHidden(name) || (!enumerable && name !== "length")) continue;
      const path = /^\d+$/.test(name)
        ? `${parent}[${name}]`
        : /^[\p{L}_$][\p{L}\p{N}_$]*$/u.test(name)
          ? `.${name}`
          : "";
      variables.push(this.variable(name, value, parent === "" ? name : path.startsWith(".") ? parent + path : path));
    }
    for (const { name, value } of internalProperties) {
      if (value && name === "[[Entries]]") variables.push(this.variable("entries", value, ""));
    }
    return variables;
  }

  /** The top-level variables of all cells. */
  async notebook(): Promise<Variable[]> {
    const { result } = await this.#inspector.post<Runtime.EvaluateReturnType>("Runtime.evaluate", {
      expression: scopeExpression,
    });
    return result.objectId === undefined ? [] : this.parts(result.objectId);
  }

  /** The local variables of a frame. */
  async locals({ call, isCell }: Frame): Promise<Variable[]> {
    const own = await this.#ofScopes(call, ["local", "block", "catch", "with", "eval"]);
    return isCell ? unique([...own, ...(await this.notebook())]) : own;
  }

  /** The variables of enclosing functions. */
  async closure({ call }: Frame): Promise<Variable[]> {
    return this.#ofScopes(call, ["closure"]);
  }

  async #ofScopes({ scopeChain }: Debugger.CallFrame, types: readonly string[]): Promise<Variable[]> {
    const variables: Variable[] = [];
    for (const { type, object } of scopeChain) {
      if (types.includes(type) && object.objectId !== undefined) variables.push(...(await this.parts(object.objectId)));
    }
    return unique(variables);
  }
}

/** Removes shadowed variables. */
function unique(variables: readonly Variable[]): Variable[] {
  const seen = new Set<string>();
  return variables.filter(({ name }) => !seen.has(name) && seen.add(name));
}
