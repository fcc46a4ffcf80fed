// `node training.js <steps> [output folder] [batch size]`: a small training as a process of its own, to be killed. Says
// each step once it is logged. With an output folder it saves every 10 steps and goes on from there.
import { activeRun, train } from "../src/index.ts";
import { toyModel, toyOptions } from "../src/train/toy.ts";

const [, , steps = "10", outputDir, batch = "4"] = process.argv;
const { runId } = await train(toyModel(), {
  ...toyOptions(),
  maxSteps: Number(steps),
  perDeviceTrainBatchSize: Number(batch),
  saveSteps: outputDir ? 10 : Number(steps),
  ...(outputDir ? { outputDir, resumeFromCheckpoint: true } : {}),
  onStep: ({ step }) => process.stdout.write(`${step === 1 ? `run ${activeRun()?.id}\n` : ""}step ${step}\n`),
});
process.stdout.write(`done ${runId}\n`);
