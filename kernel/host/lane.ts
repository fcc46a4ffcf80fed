/** Lanes: queues whose cells run one after the other. The main shell is one, and each subshell is one. */
import type { ExpressionResult, ShownError } from "./protocol.ts";
import type { RoutedMessage } from "./wire.ts";

/** The outcome of a cell's execution. */
export interface Outcome {
  error: ShownError | undefined;
  bound: string[];
  expressions: Record<string, ExpressionResult>;
}

/** A cell that the child is running. */
export interface Running {
  cell: number;
  request: RoutedMessage;
  finish: (outcome: Outcome) => void;
  /** The cell uses the interrupt signal and will stop itself. */
  handlesInterrupt: boolean;
  /** Kills the process when it fires; set once the cell was interrupted. */
  force: NodeJS.Timeout | undefined;
}

export class Lane {
  /** The subshell's id; undefined for the main shell. */
  readonly id: string | undefined;
  readonly queue: RoutedMessage[] = [];
  /** The request that is being checked or run. */
  current: RoutedMessage | undefined;
  running: Running | undefined;
  interrupted = false;

  constructor(id?: string) {
    this.id = id;
  }
}

/** All lanes of a kernel. */
export class Lanes {
  readonly main = new Lane();
  readonly #open = new Map<string, Lane>();
  /** Subshells that were deleted while they ran a cell. */
  readonly #closing = new Set<Lane>();
  #next = 1;

  /** Creates a subshell and returns its id. */
  open(): string {
    const id = `subshell-${this.#next++}`;
    this.#open.set(id, new Lane(id));
    return id;
  }

  /** Deletes a subshell; a cell that is running in it continues. @returns false if there is no such subshell */
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

  /** The running cell with a number; undefined if the child is not running it. */
  runningCell(cell: number): Running | undefined {
    return this.all.find(({ running }) => running?.cell === cell)?.running;
  }

  /** The lane that a request is for; undefined if the subshell does not exist. */
  of({ message }: RoutedMessage): Lane | undefined {
    const id = message.header.subshell_id;
    return id === undefined || id === null ? this.main : this.#open.get(id);
  }
}

/** The error for a request that names a subshell that does not exist. */
export function noSubshell(id: unknown): Error {
  return new Error(`there is no subshell ${id}`);
}
