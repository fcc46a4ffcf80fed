import { full } from "./leaf.ts";
import { ShapeError, showShape } from "./operator.ts";
import type { DType, Shape, Tensor, TensorLike } from "./tensor.ts";

/** Whether gradients flow through tensors of this dtype. */
export const isFloating = (dtype: DType): boolean => dtype === "float32" || dtype === "float16" || dtype === "bfloat16";

/** Returns the shape that two operands broadcast to, by NumPy's rules. */
export function broadcastShapes(name: string, a: Shape, b: Shape): Shape {
  const rank = Math.max(a.length, b.length);
  const result: number[] = [];
  for (let i = 0; i < rank; i++) {
    const x = a[a.length - rank + i] ?? 1;
    const y = b[b.length - rank + i] ?? 1;
    if (x !== y && x !== 1 && y !== 1) {
      throw new ShapeError(`${name}: shapes ${showShape(a)} and ${showShape(b)} cannot be broadcast`);
    }
    result.push(x === 1 ? y : x);
  }
  return result;
}

/** Shape inference of binary operators with broadcasting; the result has the operands' dtype or the given one. */
export function inferBinary(name: string, result?: DType) {
  return ([a, b]: readonly Tensor[]) => {
    if (a.dtype !== b.dtype) throw new ShapeError(`${name}: dtypes ${a.dtype} and ${b.dtype} differ; cast one of them`);
    return { shape: broadcastShapes(name, a.shape, b.shape), dtype: result ?? a.dtype };
  };
}

/** Converts a number to a scalar of the other operand's dtype. */
export function pair(a: TensorLike, b: TensorLike): readonly [Tensor, Tensor] {
  const dtype = typeof a !== "number" ? a.dtype : typeof b !== "number" ? b.dtype : "float32";
  const lift = (x: TensorLike) => (typeof x === "number" ? full([], x, dtype) : x);
  return [lift(a), lift(b)];
}
