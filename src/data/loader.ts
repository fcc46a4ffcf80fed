import { ShapeError, showShape, Tensor, type TensorData, tensor, typedArray } from "../tensor/index.ts";
import { epochOrder } from "./batch.ts";

/** Options of {@link DataLoader}, named as in PyTorch. */
export interface DataLoaderOptions<T, B> {
  /** Items per batch. Default 1. */
  batchSize?: number;
  /** Shuffle for each epoch, determined by the seed. Default false. */
  shuffle?: boolean;
  /** Default 0. */
  seed?: number;
  /** Drop an incomplete last batch, which would need its own compilation. Default false. */
  dropLast?: boolean;
  /**
   * Converts items to a batch. By default, items that are arrays, such as `[x, y]`, give one tensor per position, and other
   * items one tensor. Supports numbers (float32), nested arrays of numbers, typed arrays, and computed tensors.
   */
  collateFn?: (items: T[]) => B;
}

/** A source of items by index: an array, or a class that reads them on access. */
export interface ItemSource<T> {
  readonly length: number;
  [index: number]: T | Promise<T>;
}

/** Batch type of the default collation: a tensor per position for arrays, else one tensor. */
export type Stacked<T> = T extends readonly unknown[] ? { -readonly [K in keyof T]: Tensor } : Tensor;

/**
 * Iterates over batches of items, in order or shuffled (PyTorch's class of the same name). Each iteration is one epoch.
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

  /** @throws RangeError when batchSize is not an integer of at least 1 */
  constructor(items: ItemSource<T>, options: DataLoaderOptions<T, B> = {}) {
    const { batchSize = 1, shuffle = false, seed = 0, dropLast = false, collateFn } = options;
    if (!Number.isInteger(batchSize) || batchSize < 1) {
      throw new RangeError(`batchSize must be an integer of at least 1, not ${batchSize}`);
    }
    this.#items = items;
    this.#options = { batchSize, shuffle, seed, dropLast };
    this.#collate = collateFn ?? ((rows) => stack(rows) as B);
  }

  /** Batches per epoch. */
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

/** Stacks items. */
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
    const { data: itemData } = value.attributes as { data?: TensorData };
    if (!itemData || itemData.length !== size || value.dtype !== dtype) {
      const actual = itemData ? `${value.dtype} ${showShape(value.shape)}` : "a tensor that is not computed yet";
      throw new ShapeError(
        `DataLoader: item ${i} of a batch is ${actual}, but the first is ${dtype} ${showShape(shape)}`,
      );
    }
    for (let k = 0; k < size; k++) data[i * size + k] = itemData[k];
  }
  return tensor(data, [values.length, ...shape], dtype);
}

const isTensor = (part: unknown): part is Tensor => part instanceof Tensor;
