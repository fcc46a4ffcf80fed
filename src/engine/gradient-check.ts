import { grad, input, Random, ShapeError, type Tensor, tensor } from "../tensor/index.ts";
import { interpret } from "./interpreter/interpret.ts";

/** Options of {@link checkGradients}. */
export interface GradientCheckOptions {
  /** Half the distance between the two points of a central difference. Default 1e-5. */
  step?: number;
  /** Maximum error, relative to the derivative (absolute for derivatives below 1). Default 1e-6. */
  tolerance?: number;
  /** Seed of the random weights in the sum over outputs. Default 0. */
  seed?: number;
}

/** One derivative, by differentiation and by central difference. */
export interface CheckedSlope {
  /** Index of the input. */
  input: number;
  /** Index of its element, in row-major order. */
  element: number;
  derived: number;
  measured: number;
  /** Relative error. */
  error: number;
}

/** Result of {@link checkGradients}. */
export interface GradientCheck {
  passed: boolean;
  /** Number of derivatives that were compared. */
  checked: number;
  worst: CheckedSlope;
}

/**
 * Compares a function's gradient with central differences, both in double precision (PyTorch's gradcheck).
 * @param fn a function of tensor operations; its output, of any shape, is summed with random weights
 * @param inputs the point at which to check: tensors with known values
 *
 * @example
 * checkGradients((x, w) => gelu(x.matmul(w)), [randomNormal([3, 4], 1), randomNormal([4, 2], 2)]).passed;
 */
export function checkGradients(
  fn: (...inputs: Tensor[]) => Tensor,
  inputs: readonly Tensor[],
  { step = 1e-5, tolerance = 1e-6, seed = 0 }: GradientCheckOptions = {},
): GradientCheck {
  if (inputs.length === 0) throw new ShapeError("checkGradients: there is no input to differentiate by");
  const points = interpret(inputs);
  const leaves = inputs.map(({ shape, dtype }, i) => input(`input ${i}`, shape, dtype));
  const output = fn(...leaves);
  const weights = tensor(new Random(seed, "gradient check").normal(output.size), output.shape);
  const loss = output.mul(weights).sum();
  const at = () => new Map(leaves.map((leaf, i): [Tensor, Float64Array] => [leaf, points[i]]));
  const derived = interpret(grad(loss, leaves), at());
  let worst: CheckedSlope = { input: 0, element: 0, derived: 0, measured: 0, error: -1 };
  let checked = 0;
  for (const [i, point] of points.entries()) {
    for (let element = 0; element < point.length; element++) {
      const middle = point[element];
      point[element] = middle + step;
      const [[above]] = interpret([loss], at());
      point[element] = middle - step;
      const [[below]] = interpret([loss], at());
      point[element] = middle;
      const measured = (above - below) / (2 * step);
      const distance = Math.abs(derived[i][element] - measured) / Math.max(1, Math.abs(measured));
      // NaN on one side only is the largest possible error.
      const error = Number.isNaN(distance) ? Number.POSITIVE_INFINITY : distance;
      if (error > worst.error) worst = { input: i, element, derived: derived[i][element], measured, error };
      checked++;
    }
  }
  return { passed: worst.error <= tolerance, checked, worst };
}
