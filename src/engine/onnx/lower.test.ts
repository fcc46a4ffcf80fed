import proto from "onnx-proto";
import { expect, test } from "vitest";
import { gather, input, type Nf4Weight, quantizedMatmul, tensor, variable } from "../../tensor/index.ts";
import { defineProgram } from "../program.ts";
import { graphNames, lower } from "./lower.ts";

test("WebGPU rejects a bfloat16 variable and suggests another dtype", () => {
  const program = defineProgram({ outputs: { y: variable("w", [3], "bfloat16").cast("float32") } });
  expect(() => lower(program, "webgpu")).toThrow(
    "The variable w is bfloat16, which WebGPU does not support: use float16",
  );
});

test("WebGPU rejects a product with an NF4 weight", () => {
  const weight: Nf4Weight = {
    kind: "nf4",
    shape: [4, 64],
    codes: tensor(new Uint8Array(128), [128], "uint8"),
    absmaxCodes: tensor(new Uint8Array(4), [4], "uint8"),
    absmaxScale: tensor(new Float32Array(1)),
    absmaxOffset: tensor(new Float32Array(1)),
  };
  const program = defineProgram({ outputs: { y: quantizedMatmul(input("x", [2, 64]), weight) } });
  expect(() => lower(program, "webgpu")).toThrow("nf4Matmul is not supported on WebGPU");
});

test("only the rows that are read from a bfloat16 table are converted", () => {
  const rows = gather(variable("t", [5, 2], "bfloat16"), input("i", [3], "int32")).cast("float32");
  const { graph } = proto.onnx.ModelProto.decode(lower(defineProgram({ outputs: { rows } }), "cpu"));
  const nodes = (graph?.node ?? []).map(({ opType, input: from }) => `${opType} ${from?.[0]}`);
  expect(nodes).toContain(`Gather ${graphNames.variable(0)}`);
});
