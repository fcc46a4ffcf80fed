/** Manages the child process: executes orders, interrupts it and restarts it when it exits. */
import { interruptedEarly, kernelError, stateLost } from "./failures.ts";
import type { Lane, Lanes, Outcome } from "./lane.ts";
import type {
  ChildSettings,
  ExecuteOrder,
  FromChild,
  FromWatcher,
  ShownError,
  ToChild,
  ToWatcher,
} from "./protocol.ts";
import { Runtime } from "./runtime.ts";
import type { RoutedMessage } from "./wire.ts";

/** Events of the child process. */
export interface ChildEvents {
  message(message: FromChild): void;
  /** A reply or an event of V8's inspector. */
  inspected(message: FromWatcher): void;
  /** Text that native code or a subprocess wrote to a file descriptor. */
  raw(name: "stdout" | "stderr", text: string): void;
  /**
   * The process exited and all variables are lost. A new process has been started.
   * @param error the error to show; undefined if a running cell already failed with it
   */
  lost(error: ShownError | undefined): void;
}

/** How long after an interrupt the process is killed if the cell still runs. */
const forceMs = 5000;
/** The same for a cell that handles the interrupt itself. */
const politeForceMs = 60_000;

export class Child {
  readonly #settings: ChildSettings;
  readonly #lanes: Lanes;
  readonly #events: ChildEvents;
  #runtime: Runtime;
  /** The process exited before it was ready. The next cell starts it again. */
  #broken = false;

  /** @param runtime the first process, which was just started */
  constructor(settings: ChildSettings, runtime: Runtime, lanes: Lanes, events: ChildEvents) {
    this.#settings = settings;
    this.#lanes = lanes;
    this.#events = events;
    this.#runtime = runtime;
    this.#listen(runtime);
  }

  #start(): Runtime {
    const runtime = new Runtime(this.#settings);
    this.#listen(runtime);
    return runtime;
  }

  #listen(runtime: Runtime): void {
    runtime.listen({
      message: (message) => {
        if (runtime === this.#runtime) this.#events.message(message);
      },
      inspected: (message) => {
        if (runtime === this.#runtime) this.#events.inspected(message);
      },
      raw: (name, text) => this.#events.raw(name, text),
      exit: (how) => {
        if (runtime === this.#runtime) this.#lost(how);
      },
    });
  }

  /** The process id. */
  get pid(): number | undefined {
    return this.#runtime.pid;
  }

  /** Waits until the process can run cells. @returns the error to show if it cannot */
  async ready(): Promise<ShownError | undefined> {
    try {
      if (this.#broken) this.#runtime = this.#start();
      this.#broken = false;
      await this.#runtime.ready;
      return undefined;
    } catch (error) {
      return kernelError(error);
    }
  }

  /** Executes an order and waits until it is done. */
  async run(lane: Lane, request: RoutedMessage, order: ExecuteOrder): Promise<Outcome> {
    // The interrupt came before the order was sent, so the child has nothing to interrupt.
    if (lane.interrupted) return { error: interruptedEarly, bound: [], expressions: {} };
    const outcome = new Promise<Outcome>((finish) => {
      lane.running = { cell: order.cell, request, finish, handlesInterrupt: false, force: undefined };
    });
    this.#runtime.execute(order);
    const done = await outcome;
    // Native output comes through another pipe than the "done" message: read what has arrived.
    await new Promise((resolve) => setImmediate(resolve));
    clearTimeout(lane.running?.force);
    lane.running = undefined;
    return done;
  }

  /** Interrupts the running cells of all lanes. If there are none, interrupts callbacks of earlier cells. */
  interrupt(): void {
    const { main } = this.#lanes;
    for (const lane of this.#lanes.all) {
      if (lane.current) lane.interrupted = true;
      if (lane === main || lane.running) this.#interruptLane(lane);
    }
  }

  #interruptLane(lane: Lane): void {
    const { running } = lane;
    const runtime = this.#runtime;
    // The watcher thread handles only cells of the main lane.
    if (lane === this.#lanes.main) runtime.interrupt(running?.cell ?? 0);
    else runtime.send({ type: "interrupt", cell: running?.cell ?? 0 });
    if (!running || running.force) return;
    running.force = setTimeout(
      () => {
        if (lane.running !== running || this.#runtime !== runtime) return;
        runtime.kill();
        this.#lost("it did not react to the interrupt and was killed");
      },
      running.handlesInterrupt ? politeForceMs : forceMs,
    );
  }

  #lost(how: string): void {
    const wereRunning = this.#lanes.all.map(({ running }) => running).filter((running) => running !== undefined);
    // A process that fails to start is restarted with the next cell, not in an endless loop.
    if (this.#runtime.wasReady) this.#runtime = this.#start();
    else this.#broken = true;
    const error = stateLost(how);
    this.#events.lost(wereRunning.length === 0 && !this.#broken ? error : undefined);
    for (const { finish } of wereRunning) finish({ error, bound: [], expressions: {} });
  }

  /** Sends a message to the main thread, which receives it when it is idle. */
  send(message: ToChild): void {
    this.#runtime.send(message);
  }

  /** Sends a request to V8's inspector. */
  inspect(message: ToWatcher): void {
    this.#runtime.inspect(message);
  }

  /** Sends the user's input. */
  answer(id: number, value: string, sync: boolean): void {
    this.#runtime.answer(id, value, sync);
  }

  /** Ends the process without a restart. */
  end(): Promise<void> {
    return this.#runtime.end();
  }
}
