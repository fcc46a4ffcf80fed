import type { Attributes } from "./attributes.ts";
import { type DType, type Shape, Tensor } from "./tensor.ts";

/** Name of an operator. */
export type OperatorName = keyof Attributes;

/**
 * One operator: its shape rule and its gradient, side by side. An executor adds one entry of the same name to its
 * lowering table; nothing else has to know the operator.
 */
export interface Operator<K extends OperatorName> {
  readonly name: K;
  /** Shape and dtype of the result. Throws a {@link ShapeError} that names the shapes when the inputs do not fit. */
  infer(inputs: readonly Tensor[], attributes: Attributes[K]): { shape: Shape; dtype: DType };
  /**
   * Vector-Jacobian product: given the cotangent of the output, one cotangent for each input (undefined where none
   * flows). It builds graph, so gradients of gradients come for free. Absent where the operator is not differentiable.
   * @param needsInputGrad for each input, whether its cotangent is used
   */
  gradient?(cotangent: Tensor, node: Tensor<K>, needsInputGrad: readonly boolean[]): readonly (Tensor | undefined)[];
}

/** A mistake in shapes, dtypes or axes, found while a program is built. */
export class ShapeError extends Error {
  override name = "ShapeError";
}

/** Register an operator and return the function that applies it. */
export function operator<K extends OperatorName>(definition: Operator<K>) {
  return (inputs: readonly Tensor[], attributes: Attributes[K]): Tensor<K> => {
    const { shape, dtype } = definition.infer(inputs, attributes);
    return new Tensor(definition, inputs, attributes, shape, dtype);
  };
}

/** `[2, 3]`, for messages. */
export function showShape(shape: Shape): string {
  return `[${shape.join(", ")}]`;
}
