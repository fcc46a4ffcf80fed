import { Type } from "@sinclair/typebox";
import { expect, test } from "vitest";
import { parseMessage } from "./message.ts";

test("errors name the field, its value and what was expected, in words", () => {
  const schema = Type.Object({
    text: Type.Optional(Type.String()),
    whole: Type.Optional(Type.Integer({ minimum: 1 })),
    list: Type.Optional(Type.Array(Type.Object({ key: Type.String() }))),
    either: Type.Optional(Type.Union([Type.String(), Type.Number()], { title: "text or a number" })),
    exact: Type.Optional(Type.Literal("exact")),
  });
  const messageOf = (message: object): string => {
    try {
      parseMessage(schema, message);
    } catch (error) {
      return (error as Error).message;
    }
    return "";
  };
  expect(messageOf({ text: 1 })).toBe("Invalid value 1 for parameter 'text' supplied: expected string.");
  expect(messageOf({ whole: "x" })).toBe("Invalid value \"x\" for parameter 'whole' supplied: expected integer.");
  expect(messageOf({ list: [{ key: null }] })).toBe(
    "Invalid value null for parameter 'list[0].key' supplied: expected string.",
  );
  expect(messageOf({ list: [{}] })).toBe("Missing value for required parameter 'list[0].key'.");
  expect(messageOf({ either: [] })).toBe(
    "Invalid value [] for parameter 'either' supplied: expected text or a number.",
  );
  expect(messageOf({ exact: "other" })).toContain("expected 'exact'");
  for (const message of [{ text: {} }, { whole: 0 }, { list: 1 }, { list: [1] }, { exact: 1 }]) {
    expect(messageOf(message)).toMatch(/: expected (string|integer|array|object|'exact'|.* 1)/);
    expect(messageOf(message)).not.toMatch(/estring|einteger|eobject|earray/);
  }
  expect(messageOf({ text: ["x".repeat(10_000)] }).length).toBeLessThan(400);
});
