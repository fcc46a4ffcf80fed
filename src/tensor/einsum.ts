import { eye } from "./leaf.ts";
import { matmul } from "./matmul.ts";
import { ShapeError, showShape } from "./operator.ts";
import type { Shape, Tensor } from "./tensor.ts";

/**
 * Einstein summation: each letter is an axis, and letters that are not in the result are summed over. Without `->`, the
 * result has the letters that occur once, in alphabetical order; `...` stands for broadcast axes.
 *
 * @example
 * einsum("bhqd,bhkd->bhqk", queries, keys); // attention scores
 * einsum("ii", x);                          // trace
 * @throws ShapeError when the letters do not fit the shapes
 */
export function einsum(equation: string, ...operands: readonly Tensor[]): Tensor {
  const { terms, result, sizes } = parse(equation, operands);
  let current: Term = terms[0];
  const neededBy = (k: number) => new Set([...result, ...terms.slice(k).flatMap(({ axes }) => axes)]);
  for (let k = 1; k < terms.length; k++) current = contract(current, terms[k], neededBy(k + 1), sizes);
  current = sumOver(current, new Set(result));
  return arrange(current, result);
}

/** A tensor with named axes. */
interface Term {
  tensor: Tensor;
  axes: readonly string[];
}

function parse(equation: string, operands: readonly Tensor[]) {
  const fail = (why: string): never => {
    throw new ShapeError(`einsum "${equation}" of ${operands.map(({ shape }) => showShape(shape)).join(", ")}: ${why}`);
  };
  const match = /^([a-zA-Z.,\s]*)(?:->([a-zA-Z.\s]*))?$/.exec(equation);
  if (!match) return fail("expected letters for axes, commas between operands and -> before the result");
  const inputs = match[1].replace(/\s/g, "").split(",");
  if (inputs.length !== operands.length)
    fail(`the equation has ${inputs.length} operands, but ${operands.length} were given`);

  // The axes of "..." are named by their position from the end: "...1" is the last.
  const sizes = new Map<string, number>();
  let widest = 0;
  const terms = inputs.map((text, k): Term => {
    const { shape } = operands[k];
    const letters = text.replace("...", "").length;
    const extra = shape.length - letters;
    if (text.includes("...") ? extra < 0 : extra !== 0)
      fail(`"${text}" does not match the axes of ${showShape(shape)}`);
    widest = Math.max(widest, extra);
    const axes = expand(text, extra);
    axes.forEach((axis, i) => {
      const currentSize = sizes.get(axis) ?? 1;
      const broadcasts = axis.startsWith("...") && (shape[i] === 1 || currentSize === 1);
      if (sizes.has(axis) && currentSize !== shape[i] && !broadcasts) {
        fail(`axis ${axis} has both size ${currentSize} and size ${shape[i]}`);
      }
      sizes.set(axis, Math.max(currentSize, shape[i]));
    });
    return diagonal({ tensor: operands[k], axes });
  });
  const all = inputs.join("").replaceAll("...", "");
  const once = [...new Set(all)].filter((letter) => all.indexOf(letter) === all.lastIndexOf(letter)).sort();
  const result = expand(match[2]?.replace(/\s/g, "") ?? `${widest > 0 ? "..." : ""}${once.join("")}`, widest);
  for (const axis of result) {
    if (!sizes.has(axis) || result.indexOf(axis) !== result.lastIndexOf(axis)) {
      fail(`the result's axis ${axis} must occur once, and in an operand`);
    }
  }
  // In an operand, axes of "..." with size 1 are dropped.
  const squeezed = terms.map(({ tensor, axes }): Term => {
    const retained = axes.filter((axis, i) => tensor.shape[i] === sizes.get(axis));
    return { tensor: tensor.reshape(retained.map((axis) => sizes.get(axis) ?? 1)), axes: retained };
  });
  return { terms: squeezed, result, sizes };
}

function expand(text: string, extra: number): string[] {
  const dots = Array.from({ length: extra }, (_, i) => `...${extra - i}`);
  const [before, after] = text.split("...");
  return after === undefined ? [...before] : [...before, ...dots, ...after];
}

/** Takes the diagonal of axes that occur twice. */
function diagonal({ tensor, axes }: Term): Term {
  const repeated = axes.findIndex((axis, i) => axes.indexOf(axis) < i);
  if (repeated < 0) return { tensor, axes };
  const first = axes.indexOf(axes[repeated]);
  const n = tensor.shape[first];
  const mask = eye(n, n, tensor.dtype).reshape(tensor.shape.map((_, i) => (i === first || i === repeated ? n : 1)));
  return diagonal({ tensor: tensor.mul(mask).sum([repeated]), axes: axes.filter((_, i) => i !== repeated) });
}

function sumOver(term: Term, retained: ReadonlySet<string>): Term {
  const gone = term.axes.flatMap((axis, i) => (retained.has(axis) ? [] : [i]));
  return {
    tensor: gone.length > 0 ? term.tensor.sum(gone) : term.tensor,
    axes: term.axes.filter((a) => retained.has(a)),
  };
}

/** Contracts two operands with a matrix product over the axes that they share and the result lacks. */
function contract(left: Term, right: Term, needed: ReadonlySet<string>, sizes: ReadonlyMap<string, number>): Term {
  const a = sumOver(left, new Set([...needed, ...right.axes]));
  const b = sumOver(right, new Set([...needed, ...left.axes]));
  const shared = a.axes.filter((axis) => b.axes.includes(axis));
  const batch = shared.filter((axis) => needed.has(axis));
  const summed = shared.filter((axis) => !needed.has(axis));
  const rows = a.axes.filter((axis) => !shared.includes(axis));
  const columns = b.axes.filter((axis) => !shared.includes(axis));
  const shape = (axes: readonly string[]): Shape => axes.map((axis) => sizes.get(axis) ?? 1);
  const count = (axes: readonly string[]) => shape(axes).reduce((x, y) => x * y, 1);
  const x = arrange(a, [...batch, ...rows, ...summed]).reshape([...shape(batch), count(rows), count(summed)]);
  const y = arrange(b, [...batch, ...columns, ...summed]).reshape([...shape(batch), count(columns), count(summed)]);
  const product = matmul(x, y, { transposeB: true });
  const axes = [...batch, ...rows, ...columns];
  return { tensor: product.reshape(shape(axes)), axes };
}

function arrange({ tensor, axes }: Term, order: readonly string[]): Tensor {
  const permutation = order.map((axis) => axes.indexOf(axis));
  return permutation.every((from, to) => from === to) ? tensor : tensor.transpose(permutation);
}
