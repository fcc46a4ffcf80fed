import * as ort from "onnxruntime-node";
import type { DType, HostValue, Shape } from "../../tensor/index.ts";
import { GraphBuilder } from "./builder.ts";
import { dtypeOf, emptyTensor, fromRuntime, toRuntime } from "./values.ts";

/** Copies values to a device and back. */
export interface Transfer {
  /** Returns the value in memory that programs can read. On the CPU it shares the caller's memory. */
  upload(value: HostValue): Promise<ort.Tensor>;
  /** Allocates memory that a program can write to. */
  allocate(dtype: DType, shape: Shape): Promise<ort.Tensor>;
  /**
   * Returns a copy, which the caller owns.
   * @param raw return 16-bit floats as their bits
   */
  download(tensor: ort.Tensor, raw?: boolean): Promise<HostValue>;
}

/** Returns a tensor over the caller's memory. */
export function hostTensor({ dtype, data, shape }: HostValue): ort.Tensor {
  return toRuntime(dtype, data, shape);
}

const hostValue = (tensor: ort.Tensor, raw?: boolean): HostValue => ({
  dtype: dtypeOf(tensor),
  shape: tensor.dims,
  data: fromRuntime(tensor, raw).slice(),
});

export const hostTransfer: Transfer = {
  upload: async (value) => hostTensor(value),
  allocate: async (dtype, shape) => emptyTensor(dtype, shape),
  download: async (tensor, raw) => hostValue(tensor, raw),
};

/**
 * Returns the transfer for a device with its own memory. It runs identity programs, because the runtime has no other way to
 * copy. (Reading a device tensor directly crashes the process.)
 * @param options session options of the device
 */
export function deviceTransfer(options: ort.InferenceSession.SessionOptions): Transfer {
  const programs = new Map<string, Promise<ort.InferenceSession>>();
  const pass = async (value: ort.Tensor, to: "cpu" | "gpu-buffer"): Promise<ort.Tensor> => {
    const key = `${value.type} ${value.dims.length} ${to}`;
    const program =
      programs.get(key) ??
      ort.InferenceSession.create(identityProgram(value.type as DType, value.dims.length), {
        ...options,
        preferredOutputLocation: to,
      });
    programs.set(key, program);
    const { y } = await (await program).run({ x: value });
    return y;
  };
  return {
    upload: (value) => pass(hostTensor(value), "gpu-buffer"),
    allocate: (dtype, shape) => pass(emptyTensor(dtype, shape), "gpu-buffer"),
    download: async (tensor, raw) => hostValue(await pass(tensor, "cpu"), raw),
  };
}

/** Returns a program whose output is its input, for any shape of this rank. */
function identityProgram(dtype: DType, rank: number): Uint8Array {
  const graph = new GraphBuilder();
  const shape: Shape = Array.from({ length: rank }, () => -1);
  graph.input("x", shape, dtype);
  graph.node("Identity", ["x"], {}, { output: "y" });
  graph.output("y", shape, dtype);
  return graph.encode();
}
