import * as ort from "onnxruntime-node";
import type { DType, HostValue, Shape } from "../../tensor/index.ts";
import { GraphBuilder } from "./builder.ts";
import { dtypeOf, emptyTensor, fromRuntime, toRuntime } from "./values.ts";

/** Brings values to a device and back. */
export interface Transfer {
  /** The value where programs read it. On the CPU that is the very memory it was handed in. */
  upload(value: HostValue): Promise<ort.Tensor>;
  /** Memory that a program may write to. */
  allocate(dtype: DType, shape: Shape): Promise<ort.Tensor>;
  /**
   * A copy that its receiver may keep or give away.
   * @param raw half precision as its 16 bits
   */
  download(tensor: ort.Tensor, raw?: boolean): Promise<HostValue>;
}

/** A tensor over the caller's memory. */
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
 * To a device with memory of its own, by programs that hand on what they are given: the runtime has no other way in or
 * out. (Reading a device tensor directly ends the process.)
 * @param options what the device's sessions are made with
 */
export function deviceTransfer(options: ort.InferenceSession.SessionOptions): Transfer {
  const programs = new Map<string, Promise<ort.InferenceSession>>();
  const pass = async (value: ort.Tensor, to: "cpu" | "gpu-buffer"): Promise<ort.Tensor> => {
    const key = `${value.type} ${value.dims.length} ${to}`;
    const program =
      programs.get(key) ??
      ort.InferenceSession.create(passOn(value.type as DType, value.dims.length), {
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

/** A program whose output is its input, of any shape of this rank. */
function passOn(dtype: DType, rank: number): Uint8Array {
  const graph = new GraphBuilder();
  const shape: Shape = Array.from({ length: rank }, () => -1);
  graph.input("x", shape, dtype);
  graph.node("Identity", ["x"], {}, { output: "y" });
  graph.output("y", shape, dtype);
  return graph.encode();
}
