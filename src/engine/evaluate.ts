import { Parameter, setEvaluator, type Tensor } from "../tensor/index.ts";
import { defaultEngine } from "./engine.ts";
import { homeOf, parameterState, parametersOf, readParameters, settleParameters } from "./parameters.ts";

// Reading a tensor compiles and runs the graph that it depends on, on the engine of its parameters.
setEvaluator(async (tensors: readonly Tensor[]) => {
  if (tensors.every((t) => t instanceof Parameter)) return (await readParameters(tensors)).map(({ data }) => data);
  const parameters = parametersOf(tensors);
  const engine = parameters.map(homeOf).find((home) => home !== undefined) ?? (await defaultEngine());
  const program = await engine.compile({
    name: "reading a tensor",
    outputs: Object.fromEntries(tensors.map((t, i) => [String(i), t])),
  });
  try {
    await settleParameters(engine, parameters);
    const values = await program.run({}, parameterState(engine));
    return tensors.map((_, i) => values[String(i)]);
  } finally {
    await program.release();
  }
});
