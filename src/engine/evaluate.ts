import { setEvaluator, type Tensor } from "../tensor/index.ts";
import { defaultEngine } from "./engine.ts";
import { parameterState, parametersOf, settleParameters } from "./parameters.ts";

// Looking at a tensor of a cell compiles and runs what it depends on, once.
setEvaluator(async (tensors: readonly Tensor[]) => {
  const engine = await defaultEngine();
  const program = await engine.compile({
    name: "looking at a tensor",
    outputs: Object.fromEntries(tensors.map((t, i) => [String(i), t])),
  });
  try {
    await settleParameters(engine, parametersOf(tensors));
    const values = await program.run({}, parameterState(engine));
    return tensors.map((_, i) => values[String(i)]);
  } finally {
    await program.release();
  }
});
