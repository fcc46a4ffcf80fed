import { type HostValue, type QuantizedWeight, variable } from "../tensor/index.ts";

/** How the frozen weights of the projections are kept: 8 bits with one scale a row. */
export type Quantization = "int8";

/** Names of the parts of a quantised weight, in a model's state. */
export const quantizedNames = (weight: string) => ({
  values: `${weight}.int8`,
  scale: `${weight}.scale`,
});

/** A weight's rows rounded to whole numbers from -127 to 127, by their largest values. */
export function quantizeWeight(name: string, { shape, data }: HostValue): Record<string, HostValue> {
  const [out, width] = shape;
  const names = quantizedNames(name);
  const values = new Int8Array(out * width);
  const scale = new Float32Array(out);
  for (let i = 0; i < out; i++) {
    let largest = 0;
    for (let j = 0; j < width; j++) largest = Math.max(largest, Math.abs(data[i * width + j]));
    scale[i] = largest / 127 || 1;
    for (let j = 0; j < width; j++) {
      values[i * width + j] = Math.round(data[i * width + j] / scale[i]);
    }
  }
  return {
    [names.values]: { dtype: "int8", shape: [out, width], data: values },
    [names.scale]: { dtype: "float32", shape: [out], data: scale },
  };
}

/** The weight that a quantised one stands for. */
export function restoreWeight(name: string, parts: Readonly<Record<string, HostValue>>): HostValue {
  const names = quantizedNames(name);
  const { shape, data: values } = parts[names.values];
  const { data: scale } = parts[names.scale];
  const data = new Float32Array(values.length);
  for (let i = 0; i < data.length; i++) data[i] = values[i] * scale[Math.floor(i / shape[1])];
  return { dtype: "float32", shape, data };
}

/** A quantised weight as a program reads it. */
export function quantizedVariables(name: string, [out, width]: readonly number[]): QuantizedWeight {
  const names = quantizedNames(name);
  return {
    kind: "int8",
    values: variable(names.values, [out, width], "int8"),
    scale: variable(names.scale, [out]),
  };
}
