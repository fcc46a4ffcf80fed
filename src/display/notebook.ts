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

/** A message of a comm. */
export interface CommMessage {
  /** JSON. */
  data: Record<string, unknown>;
  metadata: Record<string, unknown>;
  /** Binary data beside the JSON. */
  buffers: Uint8Array[];
}

/** A two-way channel between code in a cell and code in the front-end, as Jupyter has it. */
export interface Comm {
  readonly id: string;
  /** What is to answer it on the other side, such as `jupyter.widget`. */
  readonly target: string;
  readonly closed: boolean;
  send(data: Record<string, unknown>, more?: Partial<Omit<CommMessage, "data">>): void;
  close(data?: Record<string, unknown>): void;
  /** What a listener prints shows under the cell that added it. Returns a function that takes it off again. */
  onMessage(listener: (message: CommMessage) => void): () => void;
  /** Called once, when the other side closes. */
  onClose(listener: (message: CommMessage) => void): () => void;
}

/** Opens comms, and answers those that the front-end opens. */
export interface Comms {
  /** @param id to be known by, such as a widget's model id; a fresh one otherwise */
  open(
    target: string,
    data?: Record<string, unknown>,
    more?: Partial<Omit<CommMessage, "data">> & { id?: string },
  ): Comm;
  /** Answers comms that the front-end opens for a target. Returns a function that ends it. */
  onOpen(target: string, listener: (comm: Comm, message: CommMessage) => void): () => void;
}

/**
 * What a kernel offers to libraries that run in its cells. The kernel puts one on `globalThis` under
 * `Symbol.for("anneal.notebook")`; outside a notebook there is none.
 */
export interface Notebook {
  display(data: MimeBundle, options?: DisplayOptions): void;
  clearOutput(wait?: boolean): void;
  /** An id of something that is shown: unique here, and the same when the notebook is run again from its beginning. */
  newId?(): string;
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
  readonly comms: Comms;
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
