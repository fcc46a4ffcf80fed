import { describe, expect, test } from "vitest";
import { parseJson } from "./json.ts";

const nested = (levels: number, open: string, close: string): string => open.repeat(levels) + close.repeat(levels);
/** A short text is checked after it was parsed, and a long one before. */
const long = " ".repeat(200_000);

describe.each([
  ["short", ""],
  ["long", long],
])("a %s text", (_, space) => {
  test("may have 64 levels", () => {
    expect(parseJson(nested(64, "[", "]") + space)).toHaveLength(1);
    expect(parseJson(`${'{"a":['.repeat(32)}0${"]}".repeat(32)}${space}`)).toHaveProperty("a");
    expect(() => parseJson(`{"x":"}","y":${'{"a":['.repeat(32)}0${"]}".repeat(32)}}${space}`)).toThrow(
      "64 levels deep",
    );
    expect(() => parseJson(`${"[".repeat(65)}0${"]".repeat(65)}${space}`)).toThrow("nested more than 64 levels deep");
  });

  test("may have brackets, quotes and separators in its strings", () => {
    const text = `${"[{".repeat(100)}${",:".repeat(60_000)}`;
    for (const string of [text, `"${text}`, `\\${text}`, `\\"${text}\\\\`, `${text}\\`]) {
      const value = { [string]: [string, { "\\": "\\\\" }] };
      expect(parseJson(JSON.stringify(value) + space)).toEqual(value);
    }
  });

  test("that is not JSON is refused", () => {
    for (const text of ["{", '"', '"\\', "[1,", "nul", '{"a":1,}']) {
      expect(() => parseJson(text + space)).toThrow("not valid JSON");
    }
  });
});

test("a text may have as many keys and values as are allowed", () => {
  const list = (values: number): string => `[${Array(values).fill("1").join(",")}]`;
  expect(parseJson(list(90_000), "x", 100_000)).toHaveLength(90_000);
  expect(() => parseJson(list(110_000), "The body", 100_000)).toThrow("The body has more than 100000 keys and values");
  expect(() => parseJson(`{${'"a":1,'.repeat(60_000)}"b":1}`, "x", 100_000)).toThrow("more than 100000");
});
