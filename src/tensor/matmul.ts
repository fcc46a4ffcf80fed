import { broadcastShapes, isFloating } from "./broadcast.ts";
import { operator, ShapeError, showShape } from "./operator.ts";
import { sumTo } from "./reduce.ts";
import type { Tensor } from "./tensor.ts";

export interface MatmulAttributes {
  /** `scale * op(a) @ op(b)`, where op optionally transposes the last two axes, without copying. */
  matmul: { readonly transposeA: boolean; readonly transposeB: boolean; readonly scale: number };
}

/** Options of {@link matmul}. */
export interface MatmulOptions {
  transposeA?: boolean;
  transposeB?: boolean;
  /** Factor on the product, at no cost. */
  scale?: number;
}

const matmulOperator = operator({
  name: "matmul",
  infer: ([a, b], { transposeA, transposeB }) => {
    const explain = () => {
      const describe = (t: Tensor, transposed: boolean) => `${showShape(t.shape)}${transposed ? " transposed" : ""}`;
      return `${describe(a, transposeA)} and ${describe(b, transposeB)}`;
    };
    if (a.shape.length < 2 || b.shape.length < 2) {
      throw new ShapeError(`matmul: both operands need at least two axes, got ${explain()}`);
    }
    const [m, k] = transposeA ? a.shape.slice(-2).reverse() : a.shape.slice(-2);
    const [l, n] = transposeB ? b.shape.slice(-2).reverse() : b.shape.slice(-2);
    if (k !== l) throw new ShapeError(`matmul: inner sizes differ: ${explain()}`);
    if (!isFloating(a.dtype) || a.dtype !== b.dtype) {
      throw new ShapeError(`matmul: expected equal floating dtypes, got ${a.dtype} and ${b.dtype}; cast them`);
    }
    return { shape: [...broadcastShapes("matmul", a.shape.slice(0, -2), b.shape.slice(0, -2)), m, n], dtype: a.dtype };
  },
  // With A' = op(A), B' = op(B): dA' = g B'^T and dB' = A'^T g. The flags express this without transposing.
  gradient: (g, node) => {
    const [a, b] = node.inputs;
    const { transposeA, transposeB, scale } = node.attributes;
    const da = transposeA
      ? matmul(b, g, { transposeA: transposeB, transposeB: true, scale })
      : matmul(g, b, { transposeB: !transposeB, scale });
    const db = transposeB
      ? matmul(g, a, { transposeA: true, transposeB: transposeA, scale })
      : matmul(a, g, { transposeA: !transposeA, scale });
    return [sumTo(da, a.shape), sumTo(db, b.shape)];
  },
});

/** Matrix product over the last two axes; leading axes are broadcast. */
export function matmul(a: Tensor, b: Tensor, options: MatmulOptions = {}): Tensor {
  const { transposeA = false, transposeB = false, scale = 1 } = options;
  return matmulOperator([a, b], { transposeA, transposeB, scale });
}
