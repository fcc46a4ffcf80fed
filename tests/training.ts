// `node training.js <steps> [output folder] [batch size]`: a small training in a separate process, for tests that kill it. It
// prints each step after logging it. With an output folder it saves every 10 steps and resumes from there.
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
