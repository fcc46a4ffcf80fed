// Saved outputs must not change when the same cells run in a new kernel.
import { expect, test } from "vitest";
import { TestKernel } from "../cells.test.helper.ts";

const cells = [
  '[{ a: 1, b: "x" }, { a: 2, b: "y" }]',
  '[{ a: 1, b: "x" }, { a: 2, b: "y" }]',
  'display([{ a: 1 }]); display([{ a: 1 }]); ({ deep: { a: { b: { c: [1, 2, 3, { d: 4 }] } } }, s: "x".repeat(200) })',
  'import { FloatProgress, IntSlider, VBox } from "anneal/widgets"; new VBox([new IntSlider({ value: 3 }), new FloatProgress({})])',
  "new IntSlider({ value: 3 })",
  'console.log("hi", { a: 1 }); "txt"',
  'import { randomNormal } from "anneal/tensor"; randomNormal([2, 3], 1)',
  "new Map([[1, 2]])",
  "new Error('outputs').message",
  "[1.5, null, undefined, true, Symbol('s'), /x/g, new Date(0)]",
];

async function outputs(): Promise<Record<string, unknown>[][]> {
  const kernel = await TestKernel.start();
  try {
    const all: Record<string, unknown>[][] = [];
    for (const code of cells) {
      const { messages } = await kernel.ok(code);
      const outputs = messages.filter(({ header }) => /^(stream|execute_result|display_data)$/.test(header.msg_type));
      all.push(outputs.map(({ content: { transient: _, ...saved } }) => saved));
    }
    return all;
  } finally {
    await kernel.close();
  }
}

test("outputs are the same in every run, table ids are unique, and text has no terminal colours", async () => {
  const first = await outputs();
  expect(await outputs()).toEqual(first);
  const text = JSON.stringify(first);
  const ids = [...text.matchAll(/<div id=\\"(anneal-\w+)/g)].map(([, id]) => id);
  expect(ids).toHaveLength(4);
  expect(new Set(ids).size).toBe(4);
  expect(text).not.toContain("\\u001b");
  expect(text.match(/"model_id":"\w+"/g)).toHaveLength(2);
});
