/** What the code of a cell does with names at its top level that the compiler may narrow them by. */
import { boundNames, child, children, flag, list, type Node, parse, text } from "../transform/syntax.ts";

/** References of a cell; each is a name or a path of members, such as `config.path`. */
export interface Flow {
  /** Those in conditions, and in what is given to a function that may be an assertion. */
  tested: ReadonlySet<string>;
  /** Those that get a value outside of functions. */
  assigned: ReadonlySet<string>;
  /** Those that functions and classes assign to: they may change at any time. */
  reassigned: ReadonlySet<string>;
}

const nothing: Flow = { tested: new Set(), assigned: new Set(), reassigned: new Set() };

/** The references of a cell, as far as it is well-formed. */
export function flowOf(source: string): Flow {
  // Without any of these no name is tested or assigned.
  if (!/[=(]|\+\+|--|\b(if|while|for|switch)\b/.test(source)) return nothing;
  const { program, errors } = parse(source, "ts");
  return errors.length > 0 ? nothing : new Reader().read(program as unknown as Node);
}

/** The name that a reference begins with. */
export function rootOf(reference: string): string {
  return reference.split(".", 1)[0] ?? reference;
}

/** Whether a reference is another one or one of its members. */
export function isWithin(reference: string, other: string): boolean {
  return reference === other || reference.startsWith(`${other}.`);
}

class Reader {
  readonly #tested = new Set<string>();
  readonly #assigned = new Set<string>();
  readonly #reassigned = new Set<string>();
  /** Constants of the cell, with what they were made of and the names that were declared with them. */
  readonly #constants = new Map<string, { init: Node; siblings: string[] }>();

  read(program: Node): Flow {
    for (const node of list(program, "body")) this.#statement(node);
    // A test of a constant may be one of what it was made of: `const ok = typeof x === "string"; if (!ok) throw …`.
    for (const name of this.#tested) {
      const made = this.#constants.get(name);
      if (!made) continue;
      for (const sibling of made.siblings) this.#tested.add(sibling);
      this.#test(made.init);
    }
    return { tested: this.#tested, assigned: this.#assigned, reassigned: this.#reassigned };
  }

  #statement(node: Node): void {
    if (isScope(node)) {
      this.#insideFunction(node);
      return;
    }
    const test = testFields.map((key) => child(node, key)).filter((each) => each !== undefined);
    switch (node.type) {
      case "IfStatement":
      case "WhileStatement":
      case "DoWhileStatement":
      case "ForStatement":
      case "SwitchStatement":
      case "SwitchCase":
        for (const each of test) this.#test(each);
        break;
      case "ExpressionStatement":
        this.#assertion(child(node, "expression"));
        break;
      case "VariableDeclarator":
        this.#declarator(node);
        break;
      default:
        for (const name of targetsOf(node)) this.#assigned.add(name);
    }
    for (const each of children(node)) this.#statement(each);
  }

  #test(node: Node): void {
    const path = pathOf(node);
    if (path !== undefined) {
      for (let each = path; each !== ""; each = each.slice(0, Math.max(0, each.lastIndexOf(".")))) {
        this.#tested.add(each);
      }
    } else if (!isScope(node)) for (const each of children(node)) this.#test(each);
  }

  // A call that stands alone, of a name or a path, may be of a function that asserts something of its arguments.
  #assertion(node: Node | undefined): void {
    const callee = node?.type === "CallExpression" ? child(node, "callee") : undefined;
    const path = callee && pathOf(callee);
    if (!node || !callee || path === undefined || rootOf(path) === "console") return;
    for (const each of list(node, "arguments")) this.#test(each);
    const receiver = child(callee, "object");
    if (receiver) this.#test(receiver);
  }

  #declarator(node: Node): void {
    const id = child(node, "id");
    const init = child(node, "init");
    if (!id || !init) return;
    const names = boundNames(id);
    for (const name of names) this.#constants.set(name, { init, siblings: names });
    // A variable that is declared without a type has that of its first value.
    if (child(id, "typeAnnotation")) for (const name of names) this.#assigned.add(name);
  }

  #insideFunction(node: Node): void {
    for (const name of targetsOf(node)) this.#reassigned.add(name);
    for (const each of children(node)) this.#insideFunction(each);
  }
}

const testFields = ["test", "discriminant"];

function isScope(node: Node): boolean {
  return /Function|^Class|^TSModule/.test(node.type);
}

/** A name, or members of one, written out; undefined for any other expression. */
function pathOf(node: Node): string | undefined {
  switch (node.type) {
    case "Identifier":
      return text(node, "name");
    case "ChainExpression":
    case "ParenthesizedExpression": {
      const inner = child(node, "expression");
      return inner && pathOf(inner);
    }
    case "MemberExpression": {
      const object = child(node, "object");
      const property = child(node, "property");
      const path = object && pathOf(object);
      if (flag(node, "computed") || property?.type !== "Identifier" || path === undefined) return undefined;
      return `${path}.${text(property, "name")}`;
    }
    default:
      return undefined;
  }
}

/** What one node assigns to. */
function targetsOf(node: Node): string[] {
  switch (node.type) {
    case "AssignmentExpression":
    case "ForInStatement":
    case "ForOfStatement": {
      const left = child(node, "left");
      return left ? assignedBy(left) : [];
    }
    case "UpdateExpression": {
      const argument = child(node, "argument");
      return argument ? assignedBy(argument) : [];
    }
    default:
      return [];
  }
}

/** References in the target of an assignment: one, or those of a pattern. */
function assignedBy(target: Node): string[] {
  const path = pathOf(target);
  if (path !== undefined) return [path];
  switch (target.type) {
    case "ObjectPattern":
      return list(target, "properties").flatMap((each) => assignedBy(child(each, "value") ?? each));
    case "ArrayPattern":
      return list(target, "elements").flatMap(assignedBy);
    case "AssignmentPattern":
      return assignedBy(child(target, "left") ?? target);
    case "RestElement":
      return assignedBy(child(target, "argument") ?? target);
    default:
      return [];
  }
}
