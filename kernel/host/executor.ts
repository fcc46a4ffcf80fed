/** Executing cells, one after the other: check, run, show, reply. */

import { stripVTControlCharacters } from "node:util";
import { cellFile } from "../child/stacks.ts";
import { DebugSession } from "../debug/session.ts";
import type { Checker, Findings } from "../language/check.ts";
import { plainText } from "../language/complete.ts";
import { showDiagnostics, showSyntaxError } from "../language/mistakes.ts";
import { installOffer } from "../language/packages.ts";
import { askedAbout, type Magics, type Question, readMagics } from "../transform/magics.ts";
import { CellSyntaxError } from "../transform/syntax.ts";
import { type TransformedCell, transformCell } from "../transform/transform.ts";
import { CommRelay, type PublishWith } from "./comms.ts";
import { Lane, Lanes, noSubshell, type Outcome } from "./lane.ts";
import { type Options, readOptions } from "./options.ts";
import { Outputs } from "./outputs.ts";
import type { ChildSettings, Command, DeclarationKind, ExecuteOrder, FromChild, ShownError } from "./protocol.ts";
import { Runtime } from "./runtime.ts";
import type { Header, RoutedMessage } from "./wire.ts";

/** What an executor needs from the kernel around it. */
export interface ExecutorLinks {
  publish: PublishWith;
  /** Answers a request. */
  reply(request: RoutedMessage, content: Record<string, unknown>): void;
  /** Asks the front-end of that request for a line of text. */
  requestInput(request: RoutedMessage, prompt: string, password: boolean): void;
  /** A cell ran and is to be kept in the history. */
  remember(line: number, source: string): void;
  /** What such a cell resulted in, as text. */
  rememberResult(line: number, text: string): void;
  log(line: string): void;
}

/** A cell that may run. */
interface ReadyCell {
  transformed: TransformedCell;
  expressions: { name: string; code: string }[];
  findings: Findings | undefined;
}

/** After so long a cell that did not stop is ended by force. */
const forceMs = 5000;
/** The same for a cell that promised to stop by itself. */
const politeForceMs = 60_000;

/** The queue of cells, and the child process that runs them. */
export class Executor {
  readonly outputs: Outputs;
  readonly comms: CommRelay;
  readonly debugger: DebugSession;
  readonly #links: ExecutorLinks;
  readonly #settings: ChildSettings;
  readonly #checker: Checker;
  readonly #names = new Map<string, DeclarationKind>();
  /** Names that functions of cells mention. */
  readonly #captured = new Set<string>();
  /** The cell whose result is kept in the history. */
  #storing = 0;
  /** Names of the cell that runs. */
  #declaring: ReadonlySet<string> = new Set();
  readonly lanes = new Lanes();
  readonly #counts = new Map<number, number>();
  #runtime: Runtime;
  #broken = false;
  #count = 0;
  #lastCell = 0;
  #check = true;
  /** Told under the first cell that somebody sees. */
  notice: string | undefined;
  #lastInterrupt: Header | undefined;
  #pendingInput: { id: number; sync: boolean } | undefined;

  constructor(settings: ChildSettings, checker: Checker, links: ExecutorLinks) {
    this.#settings = settings;
    this.#checker = checker;
    this.#links = links;
    this.outputs = new Outputs(links.publish);
    this.comms = new CommRelay(
      (type, content, parent, more) => {
        this.outputs.flush();
        links.publish(type, content, parent, more);
      },
      (message) => this.#runtime.tell(message),
    );
    this.debugger = new DebugSession(settings.emit, {
      tell: (message) => this.#runtime.inspect(message),
      event: (event, body) => this.outputs.publish("debug_event", { type: "event", seq: 0, event, body }, this.#parent),
      isDeclared: (name) => this.#names.has(name) || this.#declaring.has(name),
      declare: (name) => this.#declare(name),
    });
    this.#runtime = this.#start();
  }

  /** The request that is worked on, else the last one. */
  get #parent(): Header | Record<string, never> {
    return this.busyWith ?? this.outputs.parentOf(undefined) ?? {};
  }

  // A name that a debugger's user gave a value has any type.
  #declare(name: string): void {
    this.#names.set(name, "let");
    this.#checker.commit(++this.#lastCell, `let ${name}: any`);
  }

  #start(): Runtime {
    const runtime: Runtime = new Runtime(this.#settings, {
      message: (message) => {
        if (runtime === this.#runtime) this.#take(message);
      },
      inspected: (message) => {
        if (runtime === this.#runtime) this.debugger.inspector.take(message);
      },
      raw: (name, text) => this.outputs.stream(name, text, this.lanes.main.running?.cell),
      exit: (how) => {
        if (runtime === this.#runtime) this.#lost(how);
      },
    });
    return runtime;
  }

  /** The child's process id. */
  get childPid(): number | undefined {
    return this.#runtime.pid;
  }

  /** Names that cells have declared so far. */
  get names(): ReadonlyMap<string, DeclarationKind> {
    return this.#names;
  }

  /** The number of the last counted cell. */
  get executionCount(): number {
    return this.#count;
  }

  /** The header of the request that is worked on now. */
  get busyWith(): Header | undefined {
    return this.lanes.main.current?.message.header;
  }

  /** Queues an execute_request. */
  submit(request: RoutedMessage): void {
    const lane = this.lanes.of(request);
    if (!lane) {
      this.#fail(
        new Lane(),
        request,
        readOptions(request),
        kernelError(noSubshell(request.message.header.subshell_id)),
      );
      return;
    }
    lane.queue.push(request);
    if (!lane.current) void this.#work(lane);
  }

  async #work(lane: Lane): Promise<void> {
    for (;;) {
      const request = lane.queue.shift();
      if (!request) return;
      lane.current = request;
      const { header } = request.message;
      this.outputs.publish("status", { execution_state: "busy" }, header);
      try {
        await this.#execute(lane, request);
      } catch (error) {
        // A mistake of the kernel's own must not leave the front-end waiting.
        const shown = kernelError(error);
        this.#links.log(shown.evalue);
        this.#fail(lane, request, readOptions(request), shown);
      }
      this.outputs.publish("status", { execution_state: "idle" }, header);
      lane.current = undefined;
    }
  }

  async #execute(lane: Lane, request: RoutedMessage): Promise<void> {
    const options = readOptions(request);
    const { header } = request.message;
    const visible = !options.silent;
    if (visible && options.storeHistory) this.#count++;
    const count = visible && !options.storeHistory ? this.#count + 1 : this.#count;
    let cell = this.#begin(header, count);
    const label = visible ? `In[${count}]` : `Silent[${cell}]`;
    lane.interrupted = this.#isInterrupted(header);
    if (visible) this.outputs.publish("execute_input", { code: options.code, execution_count: count }, header);
    if (visible && options.storeHistory && options.code.trim() !== "") this.#links.remember(count, options.code);

    const asked = askedAbout(options.code);
    if (asked !== undefined) return this.#page(request, asked);
    if (/^\s*(exit|quit)\s*$/.test(options.code) && !this.#names.has(options.code.trim()))
      return this.#askExit(request);
    const magics = this.#magics(options, label);
    if ("traceback" in magics) return this.#fail(lane, request, options, magics);
    if (lane.interrupted) return this.#fail(lane, request, options, interruptedEarly);
    const startFailure = await this.#awaitRuntime();
    if (startFailure) return this.#fail(lane, request, options, startFailure);
    const order = (id: number, more: Partial<ExecuteOrder>): ExecuteOrder => ({
      type: "execute",
      cell: id,
      label,
      code: "",
      maps: noMaps,
      declared: [],
      source: options.code,
      cellId: options.cellId,
      executionCount: count,
      visible: false,
      aside: lane !== this.lanes.main,
      allowStdin: options.allowStdin,
      expressions: [],
      commands: [],
      time: false,
      ...more,
    });

    // What magics do comes first and on its own: it may change what the cell's types are.
    if (magics.commands.length > 0) {
      const { error } = await this.#run(lane, request, order(cell, { commands: magics.commands }));
      this.#afterCommands(magics.commands);
      if (error) return this.#fail(lane, request, options, error);
      cell = this.#begin(header, count);
    }
    this.#storing = visible && options.storeHistory ? cell : 0;
    const ready = await this.#ready(cell, label, magics, options);
    if ("traceback" in ready) return this.#fail(lane, request, options, ready);
    const { transformed, expressions, findings } = ready;
    if (lane.interrupted) return this.#fail(lane, request, options, interruptedEarly);
    const { code, maps, declared } = transformed;
    for (const name of transformed.mentioned) this.#captured.add(name);
    const running = this.#run(
      lane,
      request,
      order(cell, { code, maps, declared, visible, expressions, time: magics.time }),
    );
    // While the child works: the next cell's check will see these declarations.
    if (visible || declared.length > 0) this.#checker.commit(cell, magics.source, findings);
    const { error, bound, expressions: results } = await running;
    const boundNow = new Set(bound);
    for (const { name, kind } of declared) {
      if (!error || boundNow.has(name)) this.#names.set(name, kind);
    }
    if (error) {
      this.#checker.retract(cell, boundNow);
      return this.#fail(lane, request, options, error);
    }
    this.#links.reply(request, {
      status: "ok",
      execution_count: this.#count,
      user_expressions: results,
      payload: [],
    });
    if (lane.interrupted) this.#abortQueued(lane);
  }

  /** A number for what runs next in the name of a request. */
  #begin(header: Header, count: number): number {
    const cell = ++this.#lastCell;
    this.outputs.begin(cell, header);
    this.#counts.set(cell, count);
    this.#counts.delete(cell - 1000);
    return cell;
  }

  /** Has the child run something and waits for its end. */
  async #run(lane: Lane, request: RoutedMessage, order: ExecuteOrder): Promise<Outcome> {
    if (order.code !== "") await this.debugger.beforeRun(cellFile(order.cell), order.source, order.maps);
    // An interrupt that comes before the order would find nothing that runs.
    if (lane.interrupted) return { error: interruptedEarly, bound: [], expressions: {} };
    const outcome = new Promise<Outcome>((finish) => {
      lane.running = { cell: order.cell, request, finish, asked: false, force: undefined };
    });
    this.#declaring = new Set(order.declared.map(({ name }) => name));
    this.#runtime.execute(order);
    const done = await outcome;
    this.debugger.afterRun();
    // Native prints come by another pipe than the end of the cell: let what has arrived be read.
    await new Promise((resolve) => setImmediate(resolve));
    clearTimeout(lane.running?.force);
    lane.running = undefined;
    this.#pendingInput = undefined;
    return done;
  }

  #magics(options: Options, label: string): Magics | ShownError {
    try {
      const magics = readMagics(options.code);
      if (magics.alone && magics.check !== undefined) this.#check = magics.check;
      return magics;
    } catch (error) {
      if (error instanceof CellSyntaxError) return showSyntaxError(error, label, options.code);
      throw error;
    }
  }

  /** Waits until the child can run cells; what to show where it cannot. */
  async #awaitRuntime(): Promise<ShownError | undefined> {
    try {
      if (this.#broken) this.#runtime = this.#start();
      this.#broken = false;
      await this.#runtime.ready;
      return undefined;
    } catch (error) {
      return kernelError(error);
    }
  }

  #afterCommands(commands: readonly Command[]): void {
    if (commands.some(({ name }) => name === "npm" || name === "shell")) this.#checker.packagesChanged();
    if (!commands.some(({ name }) => name === "reset")) return;
    this.#names.clear();
    this.#checker.reset();
  }

  /** Transforms and checks a cell; an error to show where it must not run. */
  async #ready(
    cell: number,
    label: string,
    { source, check = this.#check }: Magics,
    options: Options,
  ): Promise<ShownError | ReadyCell> {
    let transformed: TransformedCell;
    let findings: Findings | undefined;
    try {
      // A debugger shows variables where all cells see them.
      const captured = this.debugger.isStarted ? undefined : this.#captured;
      transformed = transformCell(source, this.#names, this.#settings.emit, captured);
    } catch (error) {
      if (error instanceof CellSyntaxError) return showSyntaxError(error, label, options.code);
      throw error;
    }
    if (this.notice !== undefined && !options.silent) {
      this.outputs.stream("stderr", `${this.notice}\n`, cell);
      this.notice = undefined;
    }
    // A silent cell is the front-end's own; nobody could see what is wrong with its types.
    if (check && !options.silent && source.trim() !== "") {
      const result = await this.#checker.check(source);
      if (result.warning !== undefined) this.outputs.stream("stderr", `${result.warning}\n`, cell);
      if (result.diagnostics.length > 0) return showDiagnostics(result.diagnostics, label, source);
      findings = result.findings;
    }
    const expressions = Object.entries(options.expressions).map(([name, code]) => {
      try {
        return { name, code: transformCell(code, this.#names).code };
      } catch (error) {
        return { name, code: `throw new SyntaxError(${JSON.stringify(String(error))})` };
      }
    });
    return { transformed, expressions, findings };
  }

  // As IPython has it: a console ends, a notebook goes on.
  #askExit(request: RoutedMessage): void {
    const payload = [{ source: "ask_exit", keepkernel: false }];
    this.#links.reply(request, { status: "ok", execution_count: this.#count, user_expressions: {}, payload });
  }

  // What is known of a name goes to the front-end's pager.
  async #page(request: RoutedMessage, { name, source }: Question): Promise<void> {
    const known = await this.#checker.inspect(name, name.length, source).catch(() => undefined);
    const text = known ?? `nothing is known of ${name}`;
    const page = { source: "page", data: { "text/plain": plainText(text), "text/markdown": text }, start: 0 };
    this.#links.reply(request, { status: "ok", execution_count: this.#count, user_expressions: {}, payload: [page] });
  }

  #fail(lane: Lane, request: RoutedMessage, options: Options, { missing, ...error }: ShownError): void {
    if (!options.silent) {
      this.outputs.error(error, request.message.header);
      if (missing) this.outputs.offer(installOffer(missing), request.message.header);
    }
    // Aborting before the reply: what comes after it was sent in knowledge of the error.
    if (options.stopOnError || lane.interrupted) this.#abortQueued(lane);
    this.#links.reply(request, {
      status: "error",
      execution_count: this.#count,
      ...error,
      user_expressions: {},
      payload: [],
    });
  }

  #abortQueued(lane: Lane): void {
    for (const request of lane.queue.splice(0)) {
      const { header } = request.message;
      this.outputs.publish("status", { execution_state: "busy" }, header);
      // No execution_count: a front-end would number a cell that did not run.
      this.#links.reply(request, { status: "aborted" });
      this.outputs.publish("status", { execution_state: "idle" }, header);
    }
  }

  #take(message: FromChild): void {
    if (message.type === "result" && this.#storing === message.cell) {
      this.#links.rememberResult(this.#count, stripVTControlCharacters(String(message.data["text/plain"] ?? "")));
    }
    if (this.outputs.take(message, (cell) => this.#counts.get(cell) ?? this.#count)) return;
    if (this.comms.take(message, (cell) => this.outputs.parentOf(cell))) return;
    if (!("cell" in message)) return;
    const running = this.lanes.all.find((lane) => lane.running?.cell === message.cell)?.running;
    if (!running) return;
    if (message.type === "done") running.finish(message);
    else if (message.type === "asked") running.asked = true;
    else if (message.type === "input") {
      this.#pendingInput = { id: message.id, sync: message.sync };
      this.outputs.flush();
      this.#links.requestInput(running.request, message.prompt, message.password);
    }
  }

  /** Hands what the user typed to the cell that asked. */
  answerInput(value: string): void {
    const pending = this.#pendingInput;
    this.#pendingInput = undefined;
    if (pending) this.#runtime.answer(pending.id, value, pending.sync);
  }

  /** Whether a request was sent before the last interrupt and has been overtaken by it: they come by two sockets. */
  #isInterrupted({ session, date }: Header): boolean {
    const last = this.#lastInterrupt;
    return last !== undefined && last.session === session && date < last.date;
  }

  /**
   * Interrupts what runs; without a cell, whatever timers of earlier cells keep the child busy.
   * @param by the header of the request, where there is one
   */
  interrupt(by?: Header): void {
    this.#lastInterrupt = by;
    // A thread that is stopped cannot be interrupted.
    if (this.debugger.isStopped) void this.debugger.release();
    const { main } = this.lanes;
    for (const lane of this.lanes.all) {
      if (lane.current) lane.interrupted = true;
      if (lane === main || lane.running) this.#interruptLane(lane);
    }
  }

  #interruptLane(lane: Lane): void {
    const { running } = lane;
    const runtime = this.#runtime;
    // The watching thread knows the main lane's cells only.
    if (lane === this.lanes.main) runtime.interrupt(running?.cell ?? 0);
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

  /** The child is gone, and the user's values with it: say so, and start another. */
  #lost(how: string): void {
    const wereRunning = this.lanes.all.map(({ running }) => running).filter((running) => running !== undefined);
    this.#names.clear();
    this.#checker.reset();
    this.comms.lost();
    // One that cannot even start is tried again with the next cell, not for ever.
    if (this.#runtime.wasReady) this.#runtime = this.#start();
    else this.#broken = true;
    this.debugger.renew();
    const evalue = `the process that ran the cells ended (${how}). All variables are lost; a new process is ready.`;
    const error: ShownError = { ename: "StateLost", evalue, traceback: [`\x1b[1;31mStateLost\x1b[0m: ${evalue}`] };
    for (const { finish } of wereRunning) finish({ error, bound: [], expressions: {} });
    if (wereRunning.length === 0 && !this.#broken) this.outputs.error(error, this.outputs.parentOf(this.#lastCell));
  }

  /** Ends the child. */
  close(): void {
    this.outputs.flush();
    this.#runtime.kill();
  }
}

const noMaps = { rewrite: "", strip: "", shift: 0 };

const interruptedEarly: ShownError = {
  ename: "Interrupted",
  evalue: "the cell was interrupted before it ran",
  traceback: ["\x1b[1;31mInterrupted\x1b[0m: the cell was interrupted before it ran"],
};

function kernelError(error: unknown): ShownError {
  const evalue = error instanceof Error ? error.message : String(error);
  return { ename: "KernelError", evalue, traceback: [`\x1b[1;31mKernelError\x1b[0m: ${evalue}`] };
}
