/** A MIME bundle: a value in several formats, of which a front-end shows the richest that it supports. */
export type MimeBundle = Record<string, unknown>;

/** Options of {@link Notebook.display}. */
export interface DisplayOptions {
  /** Id of the output, for replacing it later. */
  displayId?: string;
  /** Replace the output with that id instead of adding a new one. */
  update?: boolean;
  /** Output metadata, by MIME type. */
  metadata?: Record<string, unknown>;
}

/** An executed cell. */
export interface ExecutedCell {
  /** The front-end's cell id, if it sent one. */
  id?: string;
  /** The `In [n]` number. */
  executionCount: number;
  source: string;
  /** Whether it ended with an error, or was interrupted. */
  failed?: boolean;
}

/** A message of a comm. */
export interface CommMessage {
  /** JSON. */
  data: Record<string, unknown>;
  metadata: Record<string, unknown>;
  /** Binary data in addition to the JSON. */
  buffers: Uint8Array[];
}

/** A Jupyter comm: a two-way channel between code in a cell and the front-end. */
export interface Comm {
  readonly id: string;
  /** Name of the handler on the other side, such as `jupyter.widget`. */
  readonly target: string;
  readonly closed: boolean;
  send(data: Record<string, unknown>, more?: Partial<Omit<CommMessage, "data">>): void;
  close(data?: Record<string, unknown>): void;
  /** Adds a listener, whose output is shown under the cell that added it. Returns a function that removes it. */
  onMessage(listener: (message: CommMessage) => void): () => void;
  /** Called once, when the other side closes the comm. */
  onClose(listener: (message: CommMessage) => void): () => void;
}

/** Opens comms, and handles those that the front-end opens. */
export interface Comms {
  /** @param id id of the comm, such as a widget's model id; default: a new one */
  open(
    target: string,
    data?: Record<string, unknown>,
    more?: Partial<Omit<CommMessage, "data">> & { id?: string },
  ): Comm;
  /** Handles comms that the front-end opens for a target. Returns a function that removes the handler. */
  onOpen(target: string, listener: (comm: Comm, message: CommMessage) => void): () => void;
}

/**
 * The kernel's interface for libraries that run in its cells. The kernel stores it on `globalThis` under
 * `Symbol.for("anneal.notebook")`; outside a notebook it is undefined.
 */
export interface Notebook {
  display(data: MimeBundle, options?: DisplayOptions): void;
  clearOutput(wait?: boolean): void;
  /** Returns an id for a displayed object: unique in the notebook, and the same when it is run again from the start. */
  newId?(): string;
  /** Prompts the user for a line of text. */
  input(prompt: string, options?: { password?: boolean }): Promise<string>;
  /**
   * Returns a signal that is aborted when the user interrupts the running cell. By calling this, a library commits to stop
   * at its next safe point; the kernel then waits for the cell to settle instead of abandoning it.
   */
  interruptSignal(): AbortSignal;
  /**
   * Runs a function when the running cell ends; the cell counts as running until it is done.
   * @param finish receives whether the cell failed
   */
  onCellEnd(finish: (failed: boolean) => unknown): void;
  readonly comms: Comms;
  /** Absolute path of the notebook, if the front-end sent it. */
  readonly path: string | undefined;
  /** Unique id of the kernel session; changes on restart. */
  readonly sessionId: string;
  /** The cells executed so far, in order, including the running one. */
  readonly cells: readonly ExecutedCell[];
}

const key = Symbol.for("anneal.notebook");

/** Returns the notebook that this code runs in; undefined outside a notebook. */
export function notebook(): Notebook | undefined {
  return (globalThis as { [key]?: Notebook })[key];
}
