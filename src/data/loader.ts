import { ShapeError, showShape, Tensor, type TensorData, tensor, typedArray } from "../tensor/index.ts";
import { epochOrder } from "./batch.ts";

/** Options of {@link DataLoader}, by PyTorch's names. */
export interface DataLoaderOptions<T, B> {
  /** Items of a batch. Default 1. */
  batchSize?: number;
  /** Another order at each pass, which follows from the seed. Default false. */
  shuffle?: boolean;
  /** Default 0. */
  seed?: number;
  /** Leave out a last batch that is not full, which would be compiled by itself. Default false. */
  dropLast?: boolean;
  /**
   * Makes a batch of items. By default items that are arrays, such as `[x, y]`, give one tensor for each place, and all
   * others one tensor: of numbers (float32), nested arrays of numbers, typed arrays, or tensors that are computed.
   */
  collateFn?: (items: T[]) => B;
}

/** Anything with items by number: an array, or a class that reads them when they are asked for. */
export interface ItemSource<T> {
  readonly length: number;
  [index: number]: T | Promise<T>;
}

/** What the default collation makes of items: of arrays a tensor for each place, of all else one tensor. */
export type Stacked<T> = T extends readonly unknown[] ? { -readonly [K in keyof T]: Tensor } : Tensor;

/**
 * Batches of items, in order or shuffled (PyTorch's class of the same name). Each pass over it is one epoch.
 *
 * @example
 * const loader = new DataLoader(pairs, { batchSize: 32, shuffle: true, seed: 1 });
 * for await (const [x, y] of loader) await step(x, y);
 */
export class DataLoader<T, B = Stacked<T>> {
  readonly #items: ItemSource<T>;
  readonly #options: Required<Omit<DataLoaderOptions<T, B>, "collateFn">>;
  readonly #collate: (items: T[]) => B;
  #epoch = 0;

  /** @throws RangeError when batchSize is no whole number of 1 or more */
  constructor(items: ItemSource<T>, options: DataLoaderOptions<T, B> = {}) {
    const { batchSize = 1, shuffle = false, seed = 0, dropLast = false, collateFn } = options;
    if (!Number.isInteger(batchSize) || batchSize < 1) {
      throw new RangeError(`batchSize must be a whole number of 1 or more, not ${batchSize}`);
    }
    this.#items = items;
    this.#options = { batchSize, shuffle, seed, dropLast };
    this.#collate = collateFn ?? ((rows) => stack(rows) as B);
  }

  /** Batches of one pass. */
  get length(): number {
    const { batchSize, dropLast } = this.#options;
    const count = this.#items.length / batchSize;
    return dropLast ? Math.floor(count) : Math.ceil(count);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<B> {
    const { batchSize, shuffle, seed } = this.#options;
    const epoch = this.#epoch++;
    const order = shuffle ? epochOrder(this.#items.length, seed, epoch) : undefined;
    for (let batch = 0; batch < this.length; batch++) {
      const end = Math.min((batch + 1) * batchSize, this.#items.length);
      const places = Array.from({ length: end - batch * batchSize }, (_, i) => batch * batchSize + i);
      yield this.#collate(await Promise.all(places.map((place) => this.#items[order ? order[place] : place])));
    }
  }
}

/** Items one upon the other. */
function stack(items: readonly unknown[]): Tensor | Tensor[] {
  const [first] = items;
  if (!Array.isArray(first)) return stackOne(items);
  return first.map((_, place) => stackOne(items.map((item) => (item as unknown[])[place])));
}

function stackOne(parts: readonly unknown[]): Tensor {
  const values = parts.map((part) => (isTensor(part) ? part : tensor(part as Parameters<typeof tensor>[0])));
  const [{ shape, dtype }] = values;
  const size = shape.reduce((a, b) => a * b, 1);
  const data = typedArray(dtype, size * values.length);
  for (const [i, value] of values.entries()) {
    const { data: own } = value.attributes as { data?: TensorData };
    if (!own || own.length !== size || value.dtype !== dtype) {
      const found = own ? `${value.dtype} ${showShape(value.shape)}` : "one that is not computed yet";
      throw new ShapeError(`DataLoader: item ${i} of a batch is ${found}, the first is ${dtype} ${showShape(shape)}`);
    }
    for (let k = 0; k < size; k++) data[i * size + k] = own[k];
  }
  return tensor(data, [values.length, ...shape], dtype);
}

const isTensor = (part: unknown): part is Tensor => part instanceof Tensor;
