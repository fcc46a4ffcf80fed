import type { None } from "./attributes.ts";
import { zeros } from "./leaf.ts";
import { operator, ShapeError, showShape } from "./operator.ts";
import type { Tensor } from "./tensor.ts";

export interface IndexingAttributes {
  gather: None;
  scatterAdd: None;
}

const gatherOperator = operator({
  name: "gather",
  infer: ([x, indices]) => {
    if (indices.dtype !== "int32") throw new ShapeError(`gather: indices must be int32, not ${indices.dtype}`);
    if (x.shape.length === 0) throw new ShapeError("gather: a scalar has no axis to gather from");
    return { shape: [...indices.shape, ...x.shape.slice(1)], dtype: x.dtype };
  },
  gradient: (g, node) => {
    const [x, indices] = node.inputs;
    return [scatterAdd(zeros(x.shape), indices, g), undefined];
  },
});

const scatterAddOperator = operator({
  name: "scatterAdd",
  infer: ([x, indices, updates]) => {
    const expected = [...indices.shape, ...x.shape.slice(1)];
    if (showShape(updates.shape) !== showShape(expected)) {
      throw new ShapeError(
        `scatterAdd: updates ${showShape(updates.shape)} should be ${showShape(expected)} for indices ${showShape(indices.shape)} into ${showShape(x.shape)}`,
      );
    }
    return { shape: x.shape, dtype: x.dtype };
  },
  gradient: (g, node) => [g, undefined, gather(g, node.inputs[1])],
});

/** Rows of axis 0 at `indices` (int32), which must lie in `[0, x.shape[0])`. */
export function gather(x: Tensor, indices: Tensor): Tensor {
  return gatherOperator([x, indices], {});
}

/** `x` with `updates` added to its rows at `indices`; rows named twice get both. */
export function scatterAdd(x: Tensor, indices: Tensor, updates: Tensor): Tensor {
  return scatterAddOperator([x, indices, updates], {});
}
