import { grad, input, Random, ShapeError, type Tensor, tensor } from "../tensor/index.ts";
import { interpret } from "./interpreter/interpret.ts";

/** Options of {@link checkGradients}. */
export interface GradientCheckOptions {
  /** Half the distance of the two points of a difference. Default 1e-5. */
  step?: number;
  /** Largest difference that passes, as a share of the slope (of 1 where the slope is smaller). Default 1e-6. */
  tolerance?: number;
  /** Seed of the weights under which the outputs are summed. Default 0. */
  seed?: number;
}

/** One slope, derived and measured. */
export interface CheckedSlope {
  /** Which input, from 0. */
  input: number;
  /** Which element of it, in row-major order. */
  element: number;
  derived: number;
  measured: number;
  /** Their distance, as a share of the slope. */
  error: number;
}

/** What {@link checkGradients} found. */
export interface GradientCheck {
  passed: boolean;
  /** Slopes that were compared. */
  checked: number;
  worst: CheckedSlope;
}

/**
 * Compare a function's gradient with central differences, both in double precision (PyTorch's gradcheck).
 * @param fn built of tensor operations; outputs of any shape are summed under random weights
 * @param inputs the point at which to look: tensors of known values
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
      // What is not a number on one side only is as wrong as can be.
      const error = Number.isNaN(distance) ? Number.POSITIVE_INFINITY : distance;
      if (error > worst.error) worst = { input: i, element, derived: derived[i][element], measured, error };
      checked++;
    }
  }
  return { passed: worst.error <= tolerance, checked, worst };
}
