/** The child process over all its lives: it runs orders, is interrupted, and is started again when it ends. */
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

/** What the child tells. */
export interface ChildEvents {
  message(message: FromChild): void;
  /** The watching thread tells something of V8's inspector. */
  inspected(message: FromWatcher): void;
  /** Something was written past JavaScript. */
  raw(name: "stdout" | "stderr", text: string): void;
  /**
   * The process ended, and the user's values with it; another one has been started.
   * @param error to show, where no cell ran that could end with it
   */
  lost(error: ShownError | undefined): void;
}

/** After so long a cell that did not stop is ended by force. */
const forceMs = 5000;
/** The same for a cell that promised to stop by itself. */
const politeForceMs = 60_000;

export class Child {
  readonly #settings: ChildSettings;
  readonly #lanes: Lanes;
  readonly #events: ChildEvents;
  #runtime: Runtime;
  /** It ended before it could run cells: the next cell tries again. */
  #broken = false;

  /** @param runtime the first process, just started */
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

  /** Waits until cells can run; what to show where they cannot. */
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

  /** Runs something and waits for its end. */
  async run(lane: Lane, request: RoutedMessage, order: ExecuteOrder): Promise<Outcome> {
    // An interrupt that comes before the order would find nothing that runs.
    if (lane.interrupted) return { error: interruptedEarly, bound: [], expressions: {} };
    const outcome = new Promise<Outcome>((finish) => {
      lane.running = { cell: order.cell, request, finish, asked: false, force: undefined };
    });
    this.#runtime.execute(order);
    const done = await outcome;
    // Native prints come by another pipe than the end of the cell: let what has arrived be read.
    await new Promise((resolve) => setImmediate(resolve));
    clearTimeout(lane.running?.force);
    lane.running = undefined;
    return done;
  }

  /** Interrupts what runs in all lanes; without a cell, whatever timers of earlier cells keep the child busy. */
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
    // The watching thread knows the main lane's cells only.
    if (lane === this.#lanes.main) runtime.interrupt(running?.cell ?? 0);
    else runtime.tell({ type: "interrupt", cell: running?.cell ?? 0 });
    if (!running || running.force) return;
    running.force = setTimeout(
      () => {
        if (lane.running !== running || this.#runtime !== runtime) return;
        runtime.kill();
        this.#lost("it did not react to the interrupt and was ended by force");
      },
      running.asked ? politeForceMs : forceMs,
    );
  }

  #lost(how: string): void {
    const wereRunning = this.#lanes.all.map(({ running }) => running).filter((running) => running !== undefined);
    // One that cannot even start is tried again with the next cell, not for ever.
    if (this.#runtime.wasReady) this.#runtime = this.#start();
    else this.#broken = true;
    const error = stateLost(how);
    this.#events.lost(wereRunning.length === 0 && !this.#broken ? error : undefined);
    for (const { finish } of wereRunning) finish({ error, bound: [], expressions: {} });
  }

  /** Tells the main thread, which hears it when it is free. */
  tell(message: ToChild): void {
    this.#runtime.tell(message);
  }

  /** Asks V8's inspector. */
  inspect(message: ToWatcher): void {
    this.#runtime.inspect(message);
  }

  /** Hands over what the user typed. */
  answer(id: number, value: string, sync: boolean): void {
    this.#runtime.answer(id, value, sync);
  }

  /** Ends the process, for good. */
  kill(): void {
    this.#runtime.kill();
  }
}
