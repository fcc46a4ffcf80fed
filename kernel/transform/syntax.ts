/** Generic access to oxc's syntax trees. */
import { type ParseResult, parseSync, visitorKeys } from "oxc-parser";

/** An ESTree node. Other fields are read by name with the functions below. */
export interface Node {
  type: string;
  start: number;
  end: number;
}

/** The child node in a field; undefined if there is none. */
export function child(node: Node, key: string): Node | undefined {
  const value = (node as unknown as Record<string, unknown>)[key];
  return isNode(value) ? value : undefined;
}

/** The child nodes in an array field, without holes; empty if there are none. */
export function list(node: Node, key: string): Node[] {
  const value = (node as unknown as Record<string, unknown>)[key];
  return Array.isArray(value) ? value.filter(isNode) : [];
}

/** The string in a field; undefined if there is none. */
export function text(node: Node, key: string): string | undefined {
  const value = (node as unknown as Record<string, unknown>)[key];
  return typeof value === "string" ? value : undefined;
}

/** Whether a field is true. */
export function flag(node: Node, key: string): boolean {
  return (node as unknown as Record<string, unknown>)[key] === true;
}

/** All child nodes, in the order of the fields. */
export function children(node: Node): Node[] {
  const nodes: Node[] = [];
  for (const key of visitorKeys[node.type] ?? []) {
    const value = (node as unknown as Record<string, unknown>)[key];
    if (isNode(value)) nodes.push(value);
    else if (Array.isArray(value)) for (const item of value) if (isNode(item)) nodes.push(item);
  }
  return nodes;
}

function isNode(value: unknown): value is Node {
  return typeof value === "object" && value !== null && typeof (value as Partial<Node>).type === "string";
}

/** The names that a pattern binds. */
export function boundNames(pattern: Node): string[] {
  switch (pattern.type) {
    case "Identifier":
      return [text(pattern, "name") ?? ""];
    case "ObjectPattern":
      return list(pattern, "properties").flatMap(boundNames);
    case "ArrayPattern":
      return list(pattern, "elements").flatMap(boundNames);
    case "Property":
      return boundNames(child(pattern, "value") ?? pattern);
    case "AssignmentPattern":
      return boundNames(child(pattern, "left") ?? pattern);
    case "RestElement":
      return boundNames(child(pattern, "argument") ?? pattern);
    default:
      return [];
  }
}

/** Parses code as a module. */
export function parse(source: string, lang: "ts" | "tsx" | "js"): ParseResult {
  return parseSync(`cell.${lang}`, source, { lang, sourceType: "module" });
}

/** A syntax error in a cell, with its position. */
export class CellSyntaxError extends Error {
  override readonly name = "SyntaxError";
  /** Offset in the cell, in UTF-16 units. */
  readonly offset: number;
  readonly length: number;
  readonly help: string | undefined;

  constructor(message: string, offset: number, length: number, help?: string) {
    super(message);
    this.offset = offset;
    this.length = length;
    this.help = help;
  }
}

/** Line and column of an offset, both starting at 0. */
export function position(source: string, offset: number): { line: number; column: number } {
  const before = source.slice(0, offset);
  const line = before.split("\n").length - 1;
  return { line, column: offset - (before.lastIndexOf("\n") + 1) };
}

/** The offset of a line and column, both starting at 0. */
export function offsetOf(source: string, line: number, column: number): number {
  let start = 0;
  for (let each = 0; each < line; each++) {
    const next = source.indexOf("\n", start);
    if (next < 0) return source.length;
    start = next + 1;
  }
  return Math.min(source.length, start + column);
}
