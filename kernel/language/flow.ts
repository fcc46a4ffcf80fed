/** Finds the references in a cell's top-level code that the compiler may narrow. */
import { boundNames, child, children, flag, list, type Node, parse, text } from "../transform/syntax.ts";

/** References of a cell. Each is a name or a member path such as `config.path`. */
export interface Flow {
  /** References in conditions and in arguments of calls that may be assertions. */
  tested: ReadonlySet<string>;
  /** References that are assigned outside functions. */
  assigned: ReadonlySet<string>;
  /** References that functions and classes assign to, so that they may change at any time. */
  reassigned: ReadonlySet<string>;
}

const emptyFlow: Flow = { tested: new Set(), assigned: new Set(), reassigned: new Set() };

/** The references of a cell; empty if it has syntax errors. */
export function flowOf(source: string): Flow {
  // Without any of these, no name is tested or assigned.
  if (!/[=(]|\+\+|--|\b(if|while|for|switch)\b/.test(source)) return emptyFlow;
  const { program, errors } = parse(source, "ts");
  return errors.length > 0 ? emptyFlow : new Reader().read(program as unknown as Node);
}

/** The name that a reference starts with. */
export function rootOf(reference: string): string {
  return reference.split(".", 1)[0] ?? reference;
}

/** Whether a reference equals another one or is a member of it. */
export function isWithin(reference: string, other: string): boolean {
  return reference === other || reference.startsWith(`${other}.`);
}

class Reader {
  readonly #tested = new Set<string>();
  readonly #assigned = new Set<string>();
  readonly #reassigned = new Set<string>();
  /** Declared variables, with their initializers and the names of the same pattern. */
  readonly #initializers = new Map<string, { init: Node; siblings: string[] }>();

  read(program: Node): Flow {
    for (const node of list(program, "body")) this.#statement(node);
    // Testing a variable may test its initializer: `const ok = typeof x === "string"; if (!ok) throw …`.
    for (const name of this.#tested) {
      const declared = this.#initializers.get(name);
      if (!declared) continue;
      for (const sibling of declared.siblings) this.#tested.add(sibling);
      this.#test(declared.init);
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

  // A call statement may call an assertion function, which narrows its arguments.
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
    for (const name of names) this.#initializers.set(name, { init, siblings: names });
    // Without a type annotation, the variable's declared type is that of its initializer.
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

/** The reference that an expression is; undefined for other expressions. */
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

/** The references that a node assigns to. */
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

/** The references in an assignment target, which may be a pattern. */
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
