/** A cell that is being rewritten: what is known of its names, and what the rewriting found so far. */
import type MagicString from "magic-string";
import type { DeclarationKind } from "../../host/protocol.ts";
import { child, children, type Node, text } from "../syntax.ts";
import { isLocal, type Scope } from "./scopes.ts";

/** Rewrites a node of one type, and what is under it. */
export type Visitor = (cell: CellRewrite, node: Node, at: Scope) => void;

// Names that the code of a cell is given. They are long so that no cell declares one of them by chance.
/** The object whose properties are the top-level names of all cells. */
export const scopeObject = "__anneal_scope";
/** What the kernel gives the code of cells: `bind`, `result`, `peek`, … */
export const runtime = "__anneal";

/** What is known of a cell before it is rewritten. */
export interface CellFacts {
  /** The names of this cell. */
  own: ReadonlyMap<string, DeclarationKind>;
  /** The names of earlier cells. */
  known: ReadonlyMap<string, DeclarationKind>;
  /** Names of this cell that are disposed of when it ends. */
  using: ReadonlyMap<string, "sync" | "async">;
  /** Names that functions of any cell mention; without it no loop works on copies. */
  captured: ReadonlySet<string> | undefined;
}

export class CellRewrite {
  readonly magic: MagicString;
  readonly facts: CellFacts;
  readonly #visitors: Readonly<Record<string, Visitor>>;
  /** What is to run before the cell's first statement. */
  readonly hoisted: string[] = [];
  /** What loads and binds the cell's imports. */
  readonly imports: string[] = [];
  /** Names that have a value by the statement that is looked at. */
  readonly bound: Set<string>;
  /** Names that the loop around works on copies of. */
  copies: ReadonlySet<string> = new Set();

  constructor(magic: MagicString, facts: CellFacts, visitors: Readonly<Record<string, Visitor>>) {
    this.magic = magic;
    this.facts = facts;
    this.#visitors = visitors;
    this.bound = new Set(facts.known.keys());
  }

  /** How a top-level name was declared; undefined for one that no cell declares. */
  kindOf(name: string): DeclarationKind | undefined {
    return this.facts.own.get(name) ?? this.facts.known.get(name);
  }

  /** Where the value of a top-level name is. */
  placeOf(name: string): string {
    return this.copies.has(name) ? `__anneal_copy_${name}` : `${scopeObject}.${name}`;
  }

  /** What an identifier becomes; undefined where it stays, as the name of an inner scope or of a global. */
  reference(identifier: Node, at: Scope): string | undefined {
    const name = text(identifier, "name") ?? "";
    return isLocal(name, at) || !this.#isShared(name) ? undefined : this.placeOf(name);
  }

  // A name that no cell has declared and the runtime does not know may still be declared by the time it is used.
  #isShared(name: string): boolean {
    return this.kindOf(name) !== undefined || !(name in globalThis || name === "arguments");
  }

  /** Puts other text in place of a node. What guards put around the node stays. */
  replace(node: Node, by: string): void {
    this.magic.update(node.start, node.end, by);
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
