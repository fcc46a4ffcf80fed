import type { Attributes } from "./attributes.ts";
import { type DType, type Shape, Tensor } from "./tensor.ts";

/** Name of an operator. */
export type OperatorName = keyof Attributes;

/**
 * An operator: its shape inference and its gradient. Executors add an entry of the same name to their lowering table; no
 * other code depends on the operator.
 */
export interface Operator<K extends OperatorName> {
  readonly name: K;
  /** Returns shape and dtype of the result. Throws a {@link ShapeError} that names the shapes when the inputs do not fit. */
  infer(inputs: readonly Tensor[], attributes: Attributes[K]): { shape: Shape; dtype: DType };
  /**
   * Vector-Jacobian product: returns a cotangent for each input (undefined for none), given the output's cotangent. The
   * result is a graph, so higher-order gradients work. Undefined for operators that are not differentiable.
   * @param needsInputGrad whether the cotangent of each input is used
   */
  gradient?(cotangent: Tensor, node: Tensor<K>, needsInputGrad: readonly boolean[]): readonly (Tensor | undefined)[];
}

/** Thrown while a program is built, for invalid shapes, dtypes or axes. */
export class ShapeError extends Error {
  override name = "ShapeError";
}

/** Defines an operator and returns the function that applies it. */
export function operator<K extends OperatorName>(definition: Operator<K>) {
  return (inputs: readonly Tensor[], attributes: Attributes[K]): Tensor<K> => {
    const { shape, dtype } = definition.infer(inputs, attributes);
    return new Tensor(definition, inputs, attributes, shape, dtype);
  };
}

/** Formats a shape for messages: `[2, 3]`. */
export function showShape(shape: Shape): string {
  return `[${shape.join(", ")}]`;
}
