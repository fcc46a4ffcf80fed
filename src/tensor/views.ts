import { arange } from "./leaf.ts";
import { less, lessEqual, where } from "./logic.ts";
import { ShapeError, showShape } from "./operator.ts";
import { normalizeAxis } from "./reduce.ts";
import { concat, flip } from "./shaping.ts";
import { Tensor } from "./tensor.ts";

// These functions are composed of operators from other files, which also provide the gradients.

/** An index of {@link Tensor.at}. */
export type Index = number | readonly [start?: number, end?: number, step?: number] | ":" | "..." | null | Tensor;

/** Indexes a tensor; see {@link Tensor.at}. */
export function at(x: Tensor, indices: readonly Index[]): Tensor {
  const named = indices.filter((index) => index !== null && index !== "...").length;
  if (indices.filter((index) => index === "...").length > 1) throw new ShapeError('at: "..." may occur only once');
  if (named > x.shape.length) {
    throw new ShapeError(`at: ${named} indices are too many for shape ${showShape(x.shape)}`);
  }
  let result = x;
  let axis = 0;
  for (const index of indices) {
    if (index === "...") axis += x.shape.length - named;
    else if (index === null) result = unsqueeze(result, axis++);
    else if (index === ":") axis++;
    else if (index instanceof Tensor) {
      result = result.gather(index, axis);
      axis += index.shape.length;
    } else if (typeof index === "number") result = take(result, axis, index);
    else result = range(result, axis++, index);
  }
  return result;
}

function take(x: Tensor, axis: number, index: number): Tensor {
  const n = x.shape[axis];
  const position = index < 0 ? index + n : index;
  if (!Number.isInteger(index) || position < 0 || position >= n) {
    throw new ShapeError(`at: ${index} is out of range for axis ${axis} of shape ${showShape(x.shape)}`);
  }
  return squeeze(x.slice(axis, position, position + 1), [axis]);
}

function range(x: Tensor, axis: number, [start, end, step = 1]: readonly [number?, number?, number?]): Tensor {
  const n = x.shape[axis];
  if (step === -1 && start === undefined && end === undefined) return flip(x, axis);
  const clip = (value: number) => Math.min(n, Math.max(0, value < 0 ? value + n : value));
  const [from, to] = [clip(start ?? 0), clip(end ?? n)];
  if (from >= to) {
    throw new ShapeError(
      `at: the range from ${start ?? 0} to ${end ?? n} is empty on axis ${axis} of shape ${showShape(x.shape)}`,
    );
  }
  return x.slice(axis, from, to, step);
}

/** Removes axes of size 1: all of them, or those given. */
export function squeeze(x: Tensor, axes?: readonly number[]): Tensor {
  const removed = axes?.map((axis) => normalizeAxis("squeeze", axis, x.shape));
  for (const axis of removed ?? []) {
    if (x.shape[axis] !== 1) {
      throw new ShapeError(`squeeze: axis ${axis} of shape ${showShape(x.shape)} has size ${x.shape[axis]}, not 1`);
    }
  }
  return x.reshape(x.shape.filter((n, i) => (removed ? !removed.includes(i) : n !== 1)));
}

/** Inserts an axis of size 1 at `axis` (negative counts from the end of the result). */
export function unsqueeze(x: Tensor, axis: number): Tensor {
  const place = normalizeAxis("unsqueeze", axis, [...x.shape, 1]);
  return x.reshape([...x.shape.slice(0, place), 1, ...x.shape.slice(place)]);
}

/** Merges the axes from `start` (default 0) to `end` (default -1), inclusive, into one. */
export function flatten(x: Tensor, start = 0, end = -1): Tensor {
  if (x.shape.length === 0) return x.reshape([1]);
  const [first, last] = [normalizeAxis("flatten", start, x.shape), normalizeAxis("flatten", end, x.shape)];
  return x.reshape([...x.shape.slice(0, first), -1, ...x.shape.slice(last + 1)]);
}

/** Swaps two axes. */
export function swapAxes(x: Tensor, a: number, b: number): Tensor {
  const [first, second] = [normalizeAxis("swapAxes", a, x.shape), normalizeAxis("swapAxes", b, x.shape)];
  return x.transpose(x.shape.map((_, i) => (i === first ? second : i === second ? first : i)));
}

/** Stacks tensors of the same shape along a new axis, by default the first. */
export function stack(tensors: readonly Tensor[], axis = 0): Tensor {
  if (tensors.length === 0) throw new ShapeError("stack: needs at least one tensor");
  const place = normalizeAxis("stack", axis, [...tensors[0].shape, 1]);
  return concat(
    tensors.map((t) => unsqueeze(t, place)),
    place,
  );
}

/**
 * Splits an axis.
 * @param sizes size of each part, or the number of equal parts
 * @param axis default 0
 */
export function split(x: Tensor, sizes: number | readonly number[], axis = 0): Tensor[] {
  const along = normalizeAxis("split", axis, x.shape);
  const parts = typeof sizes === "number" ? Array<number>(sizes).fill(x.shape[along] / sizes) : sizes;
  if (!parts.every(Number.isInteger) || parts.reduce((a, b) => a + b, 0) !== x.shape[along]) {
    throw new ShapeError(
      `split: ${typeof sizes === "number" ? `${sizes} equal parts` : showShape(sizes)} do not add up to axis ${along} of shape ${showShape(x.shape)}`,
    );
  }
  let offset = 0;
  return parts.map((size) => {
    const start = offset;
    offset += size;
    return x.slice(along, start, offset);
  });
}

/** Repeats `x` along each axis (NumPy's tile). */
export function tile(x: Tensor, repeats: readonly number[]): Tensor {
  const shape = [...Array<number>(Math.max(0, repeats.length - x.shape.length)).fill(1), ...x.shape];
  const times = [...Array<number>(Math.max(0, shape.length - repeats.length)).fill(1), ...repeats];
  return x
    .reshape(shape.flatMap((n) => [1, n]))
    .broadcastTo(shape.flatMap((n, i) => [times[i], n]))
    .reshape(shape.map((n, i) => n * times[i]));
}

/** Lower triangle of the last two axes; zero above the given diagonal (default 0, the main one; 1 is the next above). */
export function tril(x: Tensor, diagonal = 0): Tensor {
  const [rows, columns] = grid("tril", x);
  return where(lessEqual(columns, rows.add(diagonal)), x, 0);
}

/** Upper triangle of the last two axes; zero below the given diagonal (default 0, the main one; 1 is the next above). */
export function triu(x: Tensor, diagonal = 0): Tensor {
  const [rows, columns] = grid("triu", x);
  return where(less(columns, rows.add(diagonal)), 0, x);
}

function grid(name: string, x: Tensor): [Tensor, Tensor] {
  if (x.shape.length < 2) throw new ShapeError(`${name}: expected at least two axes, got ${showShape(x.shape)}`);
  const [n, m] = x.shape.slice(-2);
  return [arange(n).reshape([n, 1]), arange(m)];
}
