/** One line of cells that run one after the other: the kernel's shell, or a subshell beside it. */
import type { ExpressionResult, ShownError } from "./protocol.ts";
import type { RoutedMessage } from "./wire.ts";

/** What came of a cell in the child. */
export interface Outcome {
  error: ShownError | undefined;
  bound: string[];
  expressions: Record<string, ExpressionResult>;
}

/** A cell that the child runs. */
export interface Running {
  cell: number;
  request: RoutedMessage;
  finish: (outcome: Outcome) => void;
  /** It promised to stop by itself. */
  asked: boolean;
  /** Ends it by force; set once it was interrupted. */
  force: NodeJS.Timeout | undefined;
}

export class Lane {
  /** A subshell's id; undefined for the shell itself. */
  readonly id: string | undefined;
  readonly queue: RoutedMessage[] = [];
  /** The request that is worked on, its type check included. */
  current: RoutedMessage | undefined;
  running: Running | undefined;
  interrupted = false;

  constructor(id?: string) {
    this.id = id;
  }
}

/** The lanes of one kernel. */
export class Lanes {
  readonly main = new Lane();
  readonly #open = new Map<string, Lane>();
  /** Subshells that were closed while a cell ran in them. */
  readonly #closing = new Set<Lane>();
  #next = 1;

  /** Opens a subshell and tells its id. */
  open(): string {
    const id = `subshell-${this.#next++}`;
    this.#open.set(id, new Lane(id));
    return id;
  }

  /** Takes no more requests for a subshell. @returns false when there is none of that id */
  close(id: string): boolean {
    const lane = this.#open.get(id);
    if (lane?.current) this.#closing.add(lane);
    return this.#open.delete(id);
  }

  get ids(): string[] {
    return [...this.#open.keys()];
  }

  get all(): Lane[] {
    for (const lane of this.#closing) if (!lane.current) this.#closing.delete(lane);
    return [this.main, ...this.#open.values(), ...this.#closing];
  }

  /** The cell of that number, while the child runs it. */
  runningCell(cell: number): Running | undefined {
    return this.all.find(({ running }) => running?.cell === cell)?.running;
  }

  /** The lane that a request names; undefined for a subshell that there is not. */
  of({ message }: RoutedMessage): Lane | undefined {
    const id = message.header.subshell_id;
    return id === undefined || id === null ? this.main : this.#open.get(id);
  }
}

/** Why a request that names a subshell cannot be answered. */
export function noSubshell(id: unknown): Error {
  return new Error(`there is no subshell ${id}`);
}
