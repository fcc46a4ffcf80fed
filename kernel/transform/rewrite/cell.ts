/** The state of rewriting a cell. */
import type MagicString from "magic-string";
import type { DeclarationKind } from "../../host/protocol.ts";
import { child, children, type Node, text } from "../syntax.ts";
import { isLocal, type Scope } from "./scopes.ts";

/** Rewrites a node of one type and its children. */
export type Visitor = (cell: CellRewrite, node: Node, at: Scope) => void;

// Names in generated code. The prefix avoids conflicts with names in cells.
/** The object whose properties are the top-level names of all cells. */
export const scopeObject = "__anneal_scope";
/** The object with the runtime functions for cells: `bind`, `result`, `peek`, … */
export const runtime = "__anneal";

/** Information on the names in a cell. */
export interface CellFacts {
  /** The names of this cell. */
  own: ReadonlyMap<string, DeclarationKind>;
  /** The names of earlier cells. */
  earlier: ReadonlyMap<string, DeclarationKind>;
  /** Names of this cell to dispose when it ends. */
  using: ReadonlyMap<string, "sync" | "async">;
  /** Names that functions in any cell reference; if undefined, loops use no local copies. */
  captured: ReadonlySet<string> | undefined;
}

export class CellRewrite {
  readonly magic: MagicString;
  readonly facts: CellFacts;
  readonly #visitors: Readonly<Record<string, Visitor>>;
  /** Code to run before the cell's first statement. */
  readonly hoisted: string[] = [];
  /** Code that loads and binds the cell's imports. */
  readonly imports: string[] = [];
  /** Names that are initialized before the current statement. */
  readonly bound: Set<string>;
  /** Names for which the enclosing loop uses local copies. */
  copies: ReadonlySet<string> = new Set();

  constructor(magic: MagicString, facts: CellFacts, visitors: Readonly<Record<string, Visitor>>) {
    this.magic = magic;
    this.facts = facts;
    this.#visitors = visitors;
    this.bound = new Set(facts.earlier.keys());
  }

  /** The kind of a top-level declaration; undefined if no cell declares the name. */
  kindOf(name: string): DeclarationKind | undefined {
    return this.facts.own.get(name) ?? this.facts.earlier.get(name);
  }

  /** The expression for a top-level name. */
  expressionFor(name: string): string {
    return this.copies.has(name) ? `__anneal_copy_${name}` : `${scopeObject}.${name}`;
  }

  /** The replacement for an identifier; undefined for names of inner scopes and globals. */
  reference(identifier: Node, at: Scope): string | undefined {
    const name = text(identifier, "name") ?? "";
    return isLocal(name, at) || !this.#isShared(name) ? undefined : this.expressionFor(name);
  }

  // A name that is neither declared nor a global may be declared by a later cell before it is used.
  #isShared(name: string): boolean {
    return this.kindOf(name) !== undefined || !(name in globalThis || name === "arguments");
  }

  /** Replaces a node. Text that guards inserted around it is kept. */
  replace(node: Node, replacement: string): void {
    this.magic.update(node.start, node.end, replacement);
  }

  walk(node: Node, at: Scope): void {
    const visit = this.#visitors[node.type];
    if (visit) visit(this, node, at);
    else this.walkAll(children(node), at);
  }

  walkAll(nodes: readonly Node[], at: Scope): void {
    for (const node of nodes) this.walk(node, at);
  }

  walkField(node: Node, key: string, at: Scope): void {
    const value = child(node, key);
    if (value) this.walk(value, at);
  }
}
