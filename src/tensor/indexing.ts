import type { None } from "./attributes.ts";
import { arange, zeros } from "./leaf.ts";
import { operator, ShapeError, showShape } from "./operator.ts";
import { normalizeAxis } from "./reduce.ts";
import type { DType, Tensor } from "./tensor.ts";
import { unsqueeze } from "./views.ts";

export interface IndexingAttributes {
  gather: { readonly axis: number };
  scatterAdd: None;
  scatter: None;
  takeAlongAxis: { readonly axis: number };
  scatterAddAlongAxis: { readonly axis: number };
  argTopK: { readonly axis: number; readonly k: number; readonly largest: boolean };
}

function checkIndices(name: string, indices: Tensor): void {
  if (indices.dtype !== "int32") throw new ShapeError(`${name}: indices must be int32, not ${indices.dtype}`);
}

const gatherOperator = operator({
  name: "gather",
  infer: ([x, indices], { axis }) => {
    checkIndices("gather", indices);
    return { shape: [...x.shape.slice(0, axis), ...indices.shape, ...x.shape.slice(axis + 1)], dtype: x.dtype };
  },
  gradient: (g, node) => {
    const [x, indices] = node.inputs;
    const { axis } = node.attributes;
    if (axis === 0) return [scatterAdd(zeros(x.shape, x.dtype), indices, g), undefined];
    // Moves the gathered axes to the front, adds up, and moves the axis back.
    const rank = g.shape.length;
    const gathered = indices.shape.map((_, i) => axis + i);
    const rest = Array.from({ length: rank }, (_, i) => i).filter((i) => !gathered.includes(i));
    const shape = [x.shape[axis], ...x.shape.filter((_, i) => i !== axis)];
    const total = scatterAdd(zeros(shape, x.dtype), indices, g.transpose([...gathered, ...rest]));
    const back = x.shape.map((_, i) => (i === axis ? 0 : i < axis ? i + 1 : i));
    return [total.transpose(back), undefined];
  },
});

const inferScatter =
  (name: string) =>
  ([x, indices, updates]: readonly Tensor[]) => {
    checkIndices(name, indices);
    const expected = [...indices.shape, ...x.shape.slice(1)];
    if (showShape(updates.shape) !== showShape(expected) || updates.dtype !== x.dtype) {
      throw new ShapeError(
        `${name}: expected updates ${x.dtype} ${showShape(expected)} for indices ${showShape(indices.shape)} into ${showShape(x.shape)}; got ${updates.dtype} ${showShape(updates.shape)}`,
      );
    }
    return { shape: x.shape, dtype: x.dtype };
  };

const scatterAddOperator = operator({
  name: "scatterAdd",
  infer: inferScatter("scatterAdd"),
  gradient: (g, node) => [g, undefined, gather(g, node.inputs[1])],
});

const scatterOperator = operator({
  name: "scatter",
  infer: inferScatter("scatter"),
  gradient: (g, node) => {
    const [, indices, updates] = node.inputs;
    return [scatter(g, indices, zeros(updates.shape, updates.dtype)), undefined, gather(g, indices)];
  },
});

const inferAlongAxis = (name: string, x: Tensor, indices: Tensor, axis: number) => {
  checkIndices(name, indices);
  const fits = indices.shape.length === x.shape.length && x.shape.every((n, i) => i === axis || n === indices.shape[i]);
  if (!fits) {
    throw new ShapeError(
      `${name}: indices ${showShape(indices.shape)} must have the shape of ${showShape(x.shape)} except on axis ${axis}`,
    );
  }
};

const takeAlongAxisOperator = operator({
  name: "takeAlongAxis",
  infer: ([x, indices], { axis }) => {
    inferAlongAxis("takeAlongAxis", x, indices, axis);
    return { shape: indices.shape, dtype: x.dtype };
  },
  gradient: (g, node) => {
    const [x, indices] = node.inputs;
    return [scatterAddAlongAxis(zeros(x.shape, x.dtype), indices, g, node.attributes.axis), undefined];
  },
});

const scatterAddAlongAxisOperator = operator({
  name: "scatterAddAlongAxis",
  infer: ([x, indices, updates], { axis }) => {
    inferAlongAxis("scatterAddAlongAxis", x, indices, axis);
    if (showShape(updates.shape) !== showShape(indices.shape) || updates.dtype !== x.dtype) {
      throw new ShapeError(
        `scatterAddAlongAxis: expected updates ${x.dtype} ${showShape(indices.shape)}, like the indices; got ${updates.dtype} ${showShape(updates.shape)}`,
      );
    }
    return { shape: x.shape, dtype: x.dtype };
  },
  gradient: (g, node) => [g, undefined, takeAlongAxis(g, node.inputs[1], node.attributes.axis)],
});

const argTopKOperator = operator({
  name: "argTopK",
  infer: ([x], { axis, k }) => {
    if (!Number.isInteger(k) || k < 1 || k > x.shape[axis]) {
      throw new ShapeError(
        `topK: k must be an integer from 1 to ${x.shape[axis]} for axis ${axis} of ${showShape(x.shape)}, not ${k}`,
      );
    }
    return { shape: x.shape.map((n, i) => (i === axis ? k : n)), dtype: "int32" };
  },
});

/** Elements of `axis` (default 0) at `indices`, int32 in `[0, x.shape[axis])`; the axes of `indices` replace `axis`. */
export function gather(x: Tensor, indices: Tensor, axis = 0): Tensor {
  if (x.shape.length === 0) throw new ShapeError("gather: a scalar has no axis to gather from");
  return gatherOperator([x, indices], { axis: normalizeAxis("gather", axis, x.shape) });
}

/** Adds `updates` to the rows (axis 0) of `x` at `indices`; for repeated indices, all updates are added, in order. */
export function scatterAdd(x: Tensor, indices: Tensor, updates: Tensor): Tensor {
  return scatterAddOperator([x, indices, updates], {});
}

/** Replaces the rows (axis 0) of `x` at `indices`, which must be unique, by `updates`. */
export function scatter(x: Tensor, indices: Tensor, updates: Tensor): Tensor {
  return scatterOperator([x, indices, updates], {});
}

/** Elements of `x` at indices along one axis (NumPy's take_along_axis, PyTorch's gather). */
export function takeAlongAxis(x: Tensor, indices: Tensor, axis = -1): Tensor {
  return takeAlongAxisOperator([x, indices], { axis: normalizeAxis("takeAlongAxis", axis, x.shape) });
}

/** Adds each element of `updates` at its index along one axis of `x` (PyTorch's scatter_add). */
export function scatterAddAlongAxis(x: Tensor, indices: Tensor, updates: Tensor, axis = -1): Tensor {
  return scatterAddAlongAxisOperator([x, indices, updates], {
    axis: normalizeAxis("scatterAddAlongAxis", axis, x.shape),
  });
}

/** The k largest values along an axis in descending order, and their indices (int32). Equal values keep their order. */
export function topK(x: Tensor, k: number, axis = -1): { values: Tensor; indices: Tensor } {
  const along = normalizeAxis("topK", axis, x.shape);
  const indices = argTopKOperator([x], { axis: along, k, largest: true });
  return { values: takeAlongAxis(x, indices, along), indices };
}

/** Indices (int32) that sort an axis. Equal values keep their order. */
export function argsort(x: Tensor, axis = -1, descending = false): Tensor {
  const along = normalizeAxis("argsort", axis, x.shape);
  return argTopKOperator([x], { axis: along, k: x.shape[along], largest: descending });
}

/** Sorts an axis, ascending by default. */
export function sort(x: Tensor, axis = -1, descending = false): Tensor {
  return takeAlongAxis(x, argsort(x, axis, descending), axis);
}

/** One-hot encoding: 1 at each index (int32, in `[0, classes)`) of a new last axis, 0 elsewhere. */
export function oneHot(indices: Tensor, classes: number, dtype: DType = "float32"): Tensor {
  checkIndices("oneHot", indices);
  return unsqueeze(indices, -1).equal(arange(classes)).cast(dtype);
}
