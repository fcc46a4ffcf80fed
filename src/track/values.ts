/** So many values or fewer are written with their names. */
const few = 8;
/** How often a list of names is used before it is written again: one that is damaged must not cost all. */
const mostUses = 256;
/** Lists of names that are kept. */
const mostLists = 100;

interface KeyList {
  keys: readonly string[];
  /** Where it stands in the file. */
  at: number;
  uses: number;
}

/** Tells the lists of names that a file holds: a run logs the same ones at each step. */
export class KeyLists {
  #last: KeyList | undefined;
  readonly #lists = new Map<string, KeyList>();

  /**
   * Where the file holds a list of names.
   * @param write adds the list to the file, and gives the place where it begins; undefined when that fails
   * @returns undefined for lists that are better written out
   */
  find(keys: readonly string[], write: () => number | undefined): number | undefined {
    if (keys.length <= few) return undefined;
    let list = this.#last && sameKeys(this.#last.keys, keys) ? this.#last : this.#lists.get(keys.join("\n"));
    if (!list || list.uses >= mostUses || !sameKeys(list.keys, keys)) {
      const at = write();
      if (at === undefined) return undefined;
      list = { keys, at, uses: 0 };
      if (this.#lists.size >= mostLists) this.#lists.clear();
      this.#lists.set(keys.join("\n"), list);
    }
    list.uses++;
    this.#last = list;
    return list.at;
  }

  /** The file is no longer what it was. */
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
