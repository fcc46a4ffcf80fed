import { AsyncLocalStorage } from "node:async_hooks";

/** One storage for all values: each storage makes every promise of the process more expensive. */
const current = new AsyncLocalStorage<ReadonlyMap<RequestLocal<unknown>, unknown>>();

/** A value that is set for some work and all that it starts, as for a request. */
export class RequestLocal<T> {
  get(): T | undefined {
    return current.getStore()?.get(this) as T | undefined;
  }

  run<R>(value: T, work: () => R): R {
    return current.run(new Map(current.getStore()).set(this, value), work);
  }
}
