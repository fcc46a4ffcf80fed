// Runs the code of docs/training-loops.md as cells of one notebook and checks the results that the text describes.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { sharedKernel } from "../kernel/cells.test.helper.ts";
import { referenceJson, referencePath, root } from "./reference.ts";

const page = readFileSync(join(root, "docs/training-loops.md"), "utf8");
const cells = [...page.matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map(([, code]) => code);
const shared = sharedKernel();

/** Runs the cell of the page that contains a text. */
async function runCell(part: string): Promise<void> {
  const cell = cells.find((code) => code.includes(part));
  await shared.current.ok(cell ?? `throw new Error(${JSON.stringify(`no cell has ${part}`)})`);
}

/** A value from the notebook, passed as JSON. */
async function value<T>(code: string): Promise<T> {
  const { stdout } = await shared.current.ok(`console.log(JSON.stringify(${code}))`);
  return JSON.parse(stdout) as T;
}

interface Dpo {
  pairs: Record<"policy_chosen" | "policy_rejected" | "ref_chosen" | "ref_rejected", number[]>;
  losses: { sigmoid: { mean: number }; rewards: { mean_margin: number } };
  training: {
    batch: Record<"input_ids" | "attention_mask" | "completion_mask", number[][]>;
    steps: { loss: number; policy_chosen: number[]; policy_rejected: number[] }[];
  };
}

beforeAll(async () => {
  await runCell("import { AdamW");
  await shared.current.ok('import { activeRun } from "anneal"');
}, 120_000);

test("all cells of the page are run here", () => {
  expect(cells).toHaveLength(7);
});

test("a loop over a DataLoader fits a sine", async () => {
  await runCell("new DataLoader(pairs, { batchSize: 32");
  const [loss, steps] = await value<number[]>(
    "[await mseLoss(network.forward(tensor(pairs.map(([x]) => x))), tensor(pairs.map(([, y]) => y))).array(), optimizer.steps]",
  );
  expect(steps).toBe(30 * 8);
  expect(loss).toBeLessThan(0.02);
}, 120_000);

test("a module of ids and a mask learns independently of the padding", async () => {
  await runCell("class Reader");
  expect((await value<number[]>("[result?.accuracy.item()]"))[0]).toBeGreaterThan(0.95);
  const scores = await value<number[]>(
    "await reader.forward(tensor([[7, 3, 0], [7, 3, 9]], [2, 3], 'int32'), tensor([[1, 1, 0], [1, 1, 0]])).array()",
  );
  expect(scores[0]).toBe(scores[1]);
}, 120_000);

test("four accumulated batches of 8 give the same step as one batch of 32", async () => {
  await runCell("accumulate(lossOf");
  await shared.current.ok(`
    const whole = new Sequential(new Linear(1, 32), tanh, new Linear(32, 1)).initialize(42);
    const wholeOptimizer = new AdamW({ learningRate: 1e-2 });
    const once = program((x: Tensor, y: Tensor) => wholeOptimizer.minimize(mseLoss(whole.forward(x), y), whole));
    for await (const [x, y] of new DataLoader(pairs, { batchSize: 32 })) await once(x, y);
    const apart = await Promise.all(
      whole.parameters().map((mine, i) => mine.sub(small.parameters()[i]).abs().max().array()),
    );`);
  expect(await value<number>("smallOptimizer.steps")).toBe(8);
  for (const distance of await value<number[]>("apart")) expect(distance).toBeLessThan(1e-5);
}, 120_000);

test("DPO reduces the loss below ln 2, increases the margin, and changes only the adapter", async () => {
  expect(
    cells
      .find((code) => code.includes("const dpo = "))
      ?.trim()
      .split("\n").length,
  ).toBeLessThanOrEqual(15);
  await runCell("const preferences");
  await shared.current.ok("const before = await model.stateDict()");
  await runCell("const dpo = ");
  await runCell("model.setAdapter(undefined)");
  const [losses, margins] = await value<[number[], number[]]>("[losses, margins]");
  expect(losses[0]).toBeCloseTo(Math.LN2, 5);
  expect(losses.at(-1)).toBeLessThan(0.5);
  await shared.current.ok("const after = await model.stateDict()");
  const changed = await value<string[]>(
    "Object.keys(after).filter((name) => after[name].data.some((number, i) => number !== before[name].data[i]))",
  );
  expect(changed.length).toBeGreaterThan(0);
  expect(changed.filter((name) => !name.includes("adapters"))).toEqual([]);
  expect(margins[0]).toBeCloseTo(0, 4);
  expect(margins.at(-1)).toBeGreaterThan(0.5);
}, 120_000);

test("the DPO loss and three steps match the reference numbers", async () => {
  const kernel = shared.current;
  const { pairs, losses, training } = referenceJson<Dpo>("dpo.json");
  const { loss, margin } = await value<{ loss: number; margin: number }>(`await (async () => {
    const { loss, margin } = dpo(
      tensor(${JSON.stringify([...pairs.policy_chosen, ...pairs.policy_rejected])}),
      tensor(${JSON.stringify([...pairs.ref_chosen, ...pairs.ref_rejected])}),
    );
    return { loss: await loss.array(), margin: await margin.array() };
  })()`);
  expect(loss).toBeCloseTo(losses.sigmoid.mean, 5);
  expect(margin).toBeCloseTo(losses.rewards.mean_margin, 5);

  // Targets are the next tokens that are part of the completion.
  const { input_ids, attention_mask, completion_mask } = training.batch;
  const targets = input_ids.map((row, r) => row.map((_, i) => (completion_mask[r][i + 1] ? row[i + 1] : -100)));
  const int32 = (matrix: number[][]) => `tensor(${JSON.stringify(matrix)}, undefined, "int32")`;
  await kernel.ok(`
    const model = await Phi3ForCausalLM.fromPretrained(${JSON.stringify(referencePath("phi3"))}, {
      tokenizer: await Tokenizer.load(${JSON.stringify(referencePath("tokenizer"))}),
    });
    const [ids, mask, targets] = [${[input_ids, attention_mask, targets].map(int32).join(", ")}];
    const dpoOptimizer = new AdamW({ learningRate: 1e-4, weightDecay: 0, maxGradNorm: 1 });
    const reference = await program(logProbs)(ids, mask, targets);
    const losses: number[] = [];
    for (let i = 0; i < 3; i++) losses.push((await prefer(ids, mask, targets, reference)).loss.item());
    const after = await program(logProbs)(ids, mask, targets);`);
  const actual = await value<{ reference: number[]; losses: number[]; after: number[] }>(
    "{ reference: await reference.array(), losses, after: await after.array() }",
  );
  const policy = (step: number) => [...training.steps[step].policy_chosen, ...training.steps[step].policy_rejected];
  for (const [i, logProb] of policy(0).entries()) expect(actual.reference[i]).toBeCloseTo(logProb, 3);
  for (const [i, each] of actual.losses.entries()) expect(each).toBeCloseTo(training.steps[i].loss, 4);
  for (const [i, logProb] of policy(3).entries()) expect(actual.after[i]).toBeCloseTo(logProb, 2);
}, 120_000);
