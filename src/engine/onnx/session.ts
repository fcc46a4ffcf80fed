import type { InferenceSession } from "onnxruntime-node";
import type { DeviceName } from "../device.ts";

/** Returns the session options for a device. */
export function sessionOptions(device: DeviceName, threads: number): InferenceSession.SessionOptions {
  const common: InferenceSession.SessionOptions = {
    interOpNumThreads: 1,
    executionMode: "sequential",
    graphOptimizationLevel: "all",
    // Failures are thrown as errors and need not be logged.
    logSeverityLevel: 4,
  };
  if (device === "webgpu") {
    return {
      ...common,
      // Validation reports errors, such as failed allocations, instead of returning wrong numbers.
      executionProviders: [{ name: "webgpu", validationMode: "basic" }],
      intraOpNumThreads: 1,
      // Keeps the copies that in-place updates of variables need.
      extra: { optimization: { disable_specified_optimizers: "EliminateIdentity" } },
    };
  }
  return {
    ...common,
    executionProviders: ["cpu"],
    intraOpNumThreads: threads,
    // The memory pattern would allocate one block in addition to the memory of the first run.
    enableMemPattern: false,
    // Denormal numbers do not matter, but make steps many times slower late in training.
    extra: {
      session: { set_denormal_as_zero: "1" },
      // 1. Weights are cast to float32 separately in each pass; sharing the cast would keep all of them in memory.
      // 2. A Reshape that waits for a value (see after.ts) must not be fused with the next one.
      // 3. Folding broadcast zeros would take memory, also in cached programs.
      optimization: {
        disable_specified_optimizers: "CommonSubexpressionElimination;ReshapeFusion;GatherSliceToSplitFusion",
        constant_folding_max_output_size_in_bytes: String(256 * 1024),
      },
    },
  };
}
