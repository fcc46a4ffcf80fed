import { expect, test } from "vitest";
import { completeness } from "./complete.ts";

test.each([
  "1 + 1",
  "const a = 1;",
  "function f() { return 1 }",
  "{ a: 1 }",
  "%check off",
  "",
  "await x",
  "for (;;) {}",
])("%s is complete", (source) => {
  expect(completeness(source)).toEqual({ status: "complete" });
});

test.each([
  ["function f() {", "  "],
  ["  if (a) {\n    b(", "      "],
  ["[1, 2", ""],
  ["const f = () =>", "  "],
  ["`text", ""],
  ["/* comment", ""],
  ["1 +", ""],
  ["import { a", ""],
])("%s is incomplete", (source, indent) => {
  expect(completeness(source)).toEqual({ status: "incomplete", indent });
});

test.each(["const const", "}", "const s = 'a\nb'", "import 5 from", "let 1x = 2"])("%s is invalid", (source) => {
  expect(completeness(source)).toEqual({ status: "invalid" });
});
