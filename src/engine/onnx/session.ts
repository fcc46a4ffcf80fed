import type { InferenceSession } from "onnxruntime-node";
import type { DeviceName } from "../device.ts";

/** How programs are loaded on a device. */
export function sessionOptions(device: DeviceName, threads: number): InferenceSession.SessionOptions {
  const common: InferenceSession.SessionOptions = {
    interOpNumThreads: 1,
    executionMode: "sequential",
    graphOptimizationLevel: "all",
    // Failures come as errors; there is no need to print them as well.
    logSeverityLevel: 4,
  };
  if (device === "webgpu") {
    return {
      ...common,
      // A mistake, or memory that is not there, comes back as an error instead of as wrong numbers.
      executionProviders: [{ name: "webgpu", validationMode: "basic" }],
      intraOpNumThreads: 1,
      // The copies that let a variable change where it lies must stay.
      extra: { optimization: { disable_specified_optimizers: "EliminateIdentity" } },
    };
  }
  return {
    ...common,
    executionProviders: ["cpu"],
    intraOpNumThreads: threads,
    // The pattern's one block would come on top of what the first run took, which is kept as well.
    enableMemPattern: false,
    // Denormal numbers make a step many times slower late in training, and carry nothing.
    extra: {
      session: { set_denormal_as_zero: "1" },
      // Weights are turned into floats where they are used, in both passes: once for both would keep all of them.
      // And a Reshape that waits for a value (see after.ts) must not become one with the next.
      // A broadcast zero is not worth its memory, nor its place in the file of a program that is kept.
      optimization: {
        disable_specified_optimizers: "CommonSubexpressionElimination;ReshapeFusion;GatherSliceToSplitFusion",
        constant_folding_max_output_size_in_bytes: String(256 * 1024),
      },
    },
  };
}
