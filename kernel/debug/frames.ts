/** Where the child is stopped: its frames as they were written, and the variables of each. */
import type { Debugger, Runtime } from "node:inspector";
import { child, children, type Node, offsetOf, parse } from "../transform/syntax.ts";
import type { Inspector } from "./inspector.ts";
import type { Place, Sources } from "./sources.ts";
import { describe, isHidden, type References, scopeExpression, type Variable } from "./values.ts";

/** A frame that a front-end shows. */
export interface Frame {
  id: number;
  name: string;
  place: Place;
  call: Debugger.CallFrame;
  /** The top level of a cell: its names are those of the notebook. */
  isCell: boolean;
}

const cellFunction = "__anneal_cell";
const entriesShown = 1000;

/** The frames of a stop that somebody wrote in a cell or in a TypeScript file, the innermost first. */
export function framesOf(
  calls: readonly Debugger.CallFrame[],
  urlOf: (scriptId: string) => string | undefined,
  sources: Sources,
  firstId: number,
): Frame[] {
  const frames: Frame[] = [];
  for (const call of calls) {
    const place = sources.original(urlOf(call.location.scriptId) ?? "", call.location as Required<Debugger.Location>);
    const isCell = call.functionName === cellFunction;
    if (place) {
      const name = isCell ? "cell" : call.functionName || "(anonymous)";
      frames.push({ id: firstId + frames.length, name, place, call, isCell });
    }
    // Below it there is only how the kernel runs a cell.
    if (isCell) break;
  }
  return frames;
}

/** Whether some frame stands in a `try` that catches. */
export function isCaught(frames: readonly Frame[], sources: Sources): boolean {
  return frames.some(({ place }) => {
    const text = sources.text(place.path);
    if (text === undefined) return false;
    const at = offsetOf(text, place.line - 1, place.column - 1);
    const inTry = (node: Node): boolean => {
      if (at < node.start || at >= node.end) return false;
      if (node.type === "TryStatement" && child(node, "handler")) {
        const block = child(node, "block");
        if (block && at >= block.start && at < block.end) return true;
      }
      return children(node).some(inTry);
    };
    return inTry(parse(text, "ts").program as unknown as Node);
  });
}

/** Reads variables by the inspector. */
export class Variables {
  readonly #inspector: Inspector;
  readonly #references: References;
  /** Tell what each value is, beside the value. */
  readonly withTypes: boolean;

  constructor(inspector: Inspector, references: References, withTypes: boolean) {
    this.withTypes = withTypes;
    this.#inspector = inspector;
    this.#references = references;
  }

  /** A value under a name. */
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

  /** The parts of an object: properties; what Maps and Sets hold. Getters are not run. */
  async parts(objectId: string, of = ""): Promise<Variable[]> {
    const { result, internalProperties = [] } = await this.#inspector.post<Runtime.GetPropertiesReturnType>(
      "Runtime.getProperties",
      { objectId, ownProperties: true, generatePreview: true },
    );
    const found: Variable[] = [];
    for (const { name, value, enumerable } of result.slice(0, entriesShown)) {
      if (!value || isHidden(name) || (!enumerable && name !== "length")) continue;
      const path = /^\d+$/.test(name) ? `${of}[${name}]` : /^[\p{L}_$][\p{L}\p{N}_$]*$/u.test(name) ? `.${name}` : "";
      found.push(this.variable(name, value, of === "" ? name : path.startsWith(".") ? of + path : path));
    }
    for (const { name, value } of internalProperties) {
      if (value && name === "[[Entries]]") found.push(this.variable("entries", value, ""));
    }
    return found;
  }

  /** The top-level names of all cells. */
  async notebook(): Promise<Variable[]> {
    const { result } = await this.#inspector.post<Runtime.EvaluateReturnType>("Runtime.evaluate", {
      expression: scopeExpression,
    });
    return result.objectId === undefined ? [] : this.parts(result.objectId);
  }

  /** The frame's own variables, of its blocks and its function. */
  async locals({ call, isCell }: Frame): Promise<Variable[]> {
    const own = await this.#ofScopes(call, ["local", "block", "catch", "with", "eval"]);
    return isCell ? unique([...own, ...(await this.notebook())]) : own;
  }

  /** Variables of the functions around the frame's. */
  async closure({ call }: Frame): Promise<Variable[]> {
    return this.#ofScopes(call, ["closure"]);
  }

  async #ofScopes({ scopeChain }: Debugger.CallFrame, types: readonly string[]): Promise<Variable[]> {
    const found: Variable[] = [];
    for (const { type, object } of scopeChain) {
      if (types.includes(type) && object.objectId !== undefined) found.push(...(await this.parts(object.objectId)));
    }
    return unique(found);
  }
}

/** The innermost of those of one name. */
function unique(variables: readonly Variable[]): Variable[] {
  const seen = new Set<string>();
  return variables.filter(({ name }) => !seen.has(name) && seen.add(name));
}
