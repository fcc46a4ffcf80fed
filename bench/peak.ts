// Peak memory of a process that runs only some training steps; sizes as for the bench "train".
import { Engine } from "../src/index.ts";
import { openStep, parseSpec } from "./step.ts";

const engine = await Engine.open({ device: "cpu" });
const step = await openStep(engine, parseSpec(process.argv.slice(2)));
for (let i = 0; i < 5; i++) await step.run();
await engine.close();
process.stdout.write(`${JSON.stringify({ peakMemoryMb: Math.round(process.resourceUsage().maxRSS / 1024) })}\n`);
