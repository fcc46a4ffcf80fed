/** Up to this many values are written with their names. */
const few = 8;
/** Uses of a list of names before it is written again, which limits the loss if it is damaged. */
const maxUses = 256;
/** Maximum number of cached lists. */
const maxLists = 100;

interface KeyList {
  keys: readonly string[];
  /** Its offset in the file. */
  at: number;
  uses: number;
}

/** Caches the lists of names in a file: a run logs the same names at each step. */
export class KeyLists {
  #last: KeyList | undefined;
  readonly #lists = new Map<string, KeyList>();

  /**
   * Returns the offset of a list of names.
   * @param write appends the list to the file, and returns its offset; undefined when that fails
   * @returns undefined for short lists, which are written with the values
   */
  find(keys: readonly string[], write: () => number | undefined): number | undefined {
    if (keys.length <= few) return undefined;
    let list = this.#last && sameKeys(this.#last.keys, keys) ? this.#last : this.#lists.get(keys.join("\n"));
    if (!list || list.uses >= maxUses || !sameKeys(list.keys, keys)) {
      const at = write();
      if (at === undefined) return undefined;
      list = { keys, at, uses: 0 };
      if (this.#lists.size >= maxLists) this.#lists.clear();
      this.#lists.set(keys.join("\n"), list);
    }
    list.uses++;
    this.#last = list;
    return list.at;
  }

  /** Clears the cache, when the file has changed. */
  clear(): void {
    this.#last = undefined;
    this.#lists.clear();
  }
}

function sameKeys(a: readonly string[], b: readonly string[]): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
