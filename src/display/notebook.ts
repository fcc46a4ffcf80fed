/** A MIME bundle: the same value in several forms, of which a front-end shows the richest it knows. */
export type MimeBundle = Record<string, unknown>;

/** Options of {@link Notebook.display}. */
export interface DisplayOptions {
  /** Names the output so that it can be replaced later. */
  displayId?: string;
  /** Replace the output of that name instead of adding a new one. */
  update?: boolean;
  /** Output metadata, by MIME type. */
  metadata?: Record<string, unknown>;
}

/** One cell as it was run. */
export interface ExecutedCell {
  /** The front-end's cell id, when it sent one. */
  id?: string;
  /** The `In [n]` number. */
  executionCount: number;
  source: string;
  /** It ended with an error, or was interrupted. */
  failed?: boolean;
}

/**
 * What a kernel offers to libraries that run in its cells. The kernel puts one on `globalThis` under
 * `Symbol.for("anneal.notebook")`; outside a notebook there is none.
 */
export interface Notebook {
  display(data: MimeBundle, options?: DisplayOptions): void;
  clearOutput(wait?: boolean): void;
  /** Ask the person at the notebook for a line of text. */
  input(prompt: string, options?: { password?: boolean }): Promise<string>;
  /**
   * Aborted when the user interrupts the cell that is running now. A library that asks for it promises to stop at
   * its next safe point; the kernel then waits for the cell to settle instead of abandoning it.
   */
  interruptSignal(): AbortSignal;
  /**
   * Have something done when the running cell ends; the cell counts as running until it is.
   * @param finish told whether the cell failed
   */
  onCellEnd(finish: (failed: boolean) => unknown): void;
  /** Absolute path of the notebook, when the front-end told it. */
  readonly path: string | undefined;
  /** Unique for one life of the kernel: a restart gives a new one. */
  readonly sessionId: string;
  /** The cells run so far, in order, the running one last. */
  readonly cells: readonly ExecutedCell[];
}

const key = Symbol.for("anneal.notebook");

/** The notebook this code runs in, or undefined outside of one. */
export function notebook(): Notebook | undefined {
  return (globalThis as { [key]?: Notebook })[key];
}
