import { describe, expect, test } from "vitest";
import { sharedKernel } from "../cells.test.helper.ts";

const shared = sharedKernel({
  "node_modules/tools/package.json": '{ "name": "tools", "version": "1.0.0", "main": "index.js" }',
  "node_modules/tools/index.js": `(function () {
    function tools() { return "called" }
    tools.chunk = (list) => [list]; tools["com" + "puted"] = 2;
    var target = typeof exports === "object" ? module : undefined;
    (target.exports = tools).extra = 3;
  }).call(this)`,
  "node_modules/transpiled/package.json": '{ "name": "transpiled", "version": "1.0.0" }',
  "node_modules/transpiled/index.js": `Object.defineProperty(exports, "__esModule", { value: true });
    exports.default = "the default"; exports.named = 1;
    var inner = require("./inner"); Object.keys(inner).forEach((key) => Object.defineProperty(exports, key, { enumerable: true, get: () => inner[key] }));`,
  "node_modules/transpiled/inner.js":
    "exports.reexported = 4; exports.counter = 0; exports.count = () => { exports.counter++ }",
  "object.cjs":
    'module.exports = Object.assign({}, { a: 1, "not-a-name": 2 }); Object.defineProperty(module.exports, "late", { enumerable: true, get: () => 7 })',
  "class.cjs": "module.exports = class Point { static origin = 0; x = 1 }",
  "instance.cjs":
    "class Store { #size = 5; get size() { return this.#size } read() { return this.#size } } module.exports = new Store()",
  "primitive.cjs": "module.exports = 5",
  "promise.cjs": "module.exports = Promise.resolve(6)",
  "nodefault.cjs": 'Object.defineProperty(exports, "__esModule", { value: true }); exports.only = 8',
  "plain.js": "exports.plain = 9",
  "config.json": '{ "lr": 0.1, "then": "text" }',
  "types.ts": "export const typed = 10",
});

describe("exports of CommonJS modules", () => {
  test.each([
    [
      "a function with properties",
      'import tools, { chunk, computed, extra } from "tools"; [tools(), chunk(1), computed, extra]',
      "[ 'called', [ 1 ], 2, 3 ]",
    ],
    [
      "the namespace of a function",
      'import * as t from "tools"; [t.chunk(1), t.default(), "chunk" in t, Object.keys(t)]',
      "[ [ 1 ], 'called', true, [ 'chunk', 'computed', 'extra', 'default' ] ]",
    ],
    ["a dynamic import", 'const { chunk, default: d } = await import("tools"); [chunk(1), d()]', "[ [ 1 ], 'called' ]"],
    [
      "transpiled from ESM",
      'import d, { named, reexported } from "transpiled"; [d, named, reexported]',
      "[ 'the default', 1, 4 ]",
    ],
    ["live bindings", 'import { count, counter } from "transpiled"; count(); count(); counter', "2"],
    [
      "namespace of a transpiled module",
      'import * as all from "transpiled"; [all.default, all.reexported]',
      "[ 'the default', 4 ]",
    ],
    ["transpiled without a default", 'import whole, { only } from "./nodefault.cjs"; [whole.only, only]', "[ 8, 8 ]"],
    [
      "an object with a getter",
      'import whole, { a, late, "not-a-name" as odd } from "./object.cjs"; [whole.a, a, late, odd]',
      "[ 1, 1, 7, 2 ]",
    ],
    [
      "a class",
      'import Point, { origin } from "./class.cjs"; import * as P from "./class.cjs"; [new Point().x, origin, P.default === Point]',
      "[ 1, 0, true ]",
    ],
    ["an instance", 'import store, { size } from "./instance.cjs"; [store.read(), size]', "[ 5, 5 ]"],
    ["a primitive", 'import five from "./primitive.cjs"; five', "5"],
    [
      "a promise",
      'import six from "./promise.cjs"; [await six, typeof (await import("./promise.cjs")).then]',
      "[ 6, 'undefined' ]",
    ],
    ["a .js file", 'import p, { plain } from "./plain.js"; [p.plain, plain]', "[ 9, 9 ]"],
    [
      "JSON",
      'import config, { lr } from "./config.json"; import * as all from "./config.json"; [config.lr, lr, all.lr, (await import("./config.json")).default.lr]',
      "[ 0.1, 0.1, 0.1, 0.1 ]",
    ],
    ["re-exports", 'export { chunk as part } from "tools"; [typeof part]', "[ 'function' ]"],
  ])("%s", async (_what, code, expected) => {
    expect((await shared.current.ok(`%check off\n${code}`)).result).toBe(expected);
  });

  test("are the same after TypeScript files have been loaded", async () => {
    const kernel = shared.current;
    await kernel.ok('import { typed } from "./types.ts"; typed');
    expect(
      (await kernel.ok('%check off\nimport d, { chunk, extra } from "tools"; [d(), typeof chunk, extra]')).result,
    ).toBe("[ 'called', 'function', 3 ]");
  });

  test("are type-checked, and a namespace displays its names", async () => {
    const kernel = shared.current;
    expect((await kernel.ok('import { a } from "./object.cjs"; a')).result).toBe("1");
    const { result } = await kernel.ok('import * as shown from "./object.cjs"; shown');
    expect(result).toContain("[Module]");
    expect(result).toContain("late: [Getter]");
  });
});
