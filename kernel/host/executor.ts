/** Executes cells in order: checks and runs each one, publishes its outputs and sends the reply. */

import { stripVTControlCharacters } from "node:util";
import { cellFile } from "../child/stacks.ts";
import { DebugSession } from "../debug/session.ts";
import type { Checker } from "../language/check.ts";
import { type Inspection, type Magics, readInspection } from "../transform/magics.ts";
import { CellCode, type ReadyCell } from "./cell-code.ts";
import { Child } from "./child.ts";
import { CommRelay, type PublishWith } from "./comms.ts";
import { interruptedEarly, kernelError } from "./failures.ts";
import { Lane, Lanes, noSubshell, type Outcome } from "./lane.ts";
import { type Options, readOptions } from "./options.ts";
import { Outputs } from "./outputs.ts";
import type { ChildSettings, DeclarationKind, ExecuteOrder, FromChild } from "./protocol.ts";
import { Replies, type Reply } from "./replies.ts";
import type { Runtime } from "./runtime.ts";
import type { Header, RoutedMessage } from "./wire.ts";

/** What an executor needs from the kernel. */
export interface ExecutorLinks {
  publish: PublishWith;
  reply: Reply;
  /** Sends an input_request to the front-end that sent `request`. */
  requestInput(request: RoutedMessage, prompt: string, password: boolean): void;
  /** Adds a cell to the history. */
  addToHistory(line: number, source: string): void;
  /** Adds the text of a cell's result to the history. */
  addResultToHistory(line: number, text: string): void;
  log(line: string): void;
}

/** A request that is being executed. */
interface Work {
  lane: Lane;
  request: RoutedMessage;
  options: Options;
  /** The execution count that the front-end shows. */
  count: number;
  label: string;
}

/** Queues and executes the cells of the shell and of the subshells. */
export class Executor {
  readonly outputs: Outputs;
  readonly comms: CommRelay;
  readonly debugger: DebugSession;
  readonly lanes = new Lanes();
  readonly #links: ExecutorLinks;
  readonly #checker: Checker;
  readonly #code: CellCode;
  readonly #child: Child;
  readonly #replies: Replies;
  /** A warning that is printed to stderr with the next cell that is not silent. */
  notice: string | undefined;
  #count = 0;
  #lastCell = 0;
  /** Execution counts, by cell. */
  readonly #counts = new Map<number, number>();
  /** The cell whose result is stored in the history. */
  #storedCell = 0;
  #lastInterrupt: Header | undefined;
  #pendingInput: { id: number; sync: boolean } | undefined;

  /** @param runtime the child process, which was just started */
  constructor(settings: ChildSettings, runtime: Runtime, checker: Checker, links: ExecutorLinks) {
    this.#checker = checker;
    this.#links = links;
    this.#code = new CellCode(checker, settings.emit);
    this.outputs = new Outputs(links.publish);
    this.#replies = new Replies(links.reply, this.outputs, () => this.#count);
    this.comms = new CommRelay(
      (type, content, parent, more) => {
        this.outputs.flush();
        links.publish(type, content, parent, more);
      },
      (message) => this.#child.send(message),
    );
    this.debugger = new DebugSession(settings.emit, {
      send: (message) => this.#child.inspect(message),
      event: (event, body) => this.outputs.publish("debug_event", { type: "event", seq: 0, event, body }, this.#parent),
      isDeclared: (name) => this.#code.isDeclared(name),
      declare: (name) => this.#code.declare(++this.#lastCell, name),
    });
    this.#child = new Child(settings, runtime, this.lanes, {
      message: (message) => this.#handle(message),
      inspected: (message) => this.debugger.inspector.handle(message),
      raw: (name, text) => this.outputs.stream(name, text, this.lanes.main.running?.cell),
      lost: (error) => {
        this.#code.forget();
        this.comms.lost();
        this.debugger.renew();
        if (error) this.outputs.error(error, this.outputs.parentOf(this.#lastCell));
      },
    });
  }

  /** The header of the running request, or else of the last one. */
  get #parent(): Header | Record<string, never> {
    return this.busyWith ?? this.outputs.parentOf(undefined) ?? {};
  }

  /** The child's process id. */
  get childPid(): number | undefined {
    return this.#child.pid;
  }

  /** Names that cells have declared. */
  get names(): ReadonlyMap<string, DeclarationKind> {
    return this.#code.names;
  }

  /** The header of the request that the main shell is executing. */
  get busyWith(): Header | undefined {
    return this.lanes.main.current?.message.header;
  }

  /** Queues an execute_request. */
  submit(request: RoutedMessage): void {
    const lane = this.lanes.of(request);
    if (!lane) {
      const error = kernelError(noSubshell(request.message.header.subshell_id));
      this.#replies.error(new Lane(), request, readOptions(request), error);
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
        // After an error in the kernel itself the front-end must still get a reply.
        const failure = kernelError(error);
        this.#links.log(failure.evalue);
        this.#replies.error(lane, request, readOptions(request), failure);
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
    const cell = this.#begin(header, count);
    const label = visible ? `In[${count}]` : `Silent[${cell}]`;
    const work: Work = { lane, request, options, count, label };
    lane.interrupted = this.#isInterrupted(header);
    if (visible) this.outputs.publish("execute_input", { code: options.code, execution_count: count }, header);
    if (visible && options.storeHistory && options.code.trim() !== "") this.#links.addToHistory(count, options.code);

    const inspection = readInspection(options.code);
    if (inspection !== undefined) return this.#page(request, inspection);
    const isExit = /^\s*(exit|quit)\s*$/.test(options.code) && !this.names.has(options.code.trim());
    if (isExit) return this.#replies.exit(request);
    const magics = this.#code.magics(options, label);
    if ("traceback" in magics) return this.#replies.error(lane, request, options, magics);
    const failure = lane.interrupted ? interruptedEarly : await this.#child.ready();
    if (failure) return this.#replies.error(lane, request, options, failure);
    if (magics.commands.length === 0) return this.#executeCode(work, magics, cell);

    // Magics run first, as an execution of their own: they may change the types that the cell sees.
    const { error } = await this.#run(
      work,
      orderFor(work, cell, this.#inSubshell(lane), { commands: magics.commands }),
    );
    this.#code.afterCommands(magics.commands);
    if (error) return this.#replies.error(lane, request, options, error);
    return this.#executeCode(work, magics, this.#begin(header, count));
  }

  async #executeCode(work: Work, magics: Magics, cell: number): Promise<void> {
    const { lane, request, options, label } = work;
    const visible = !options.silent;
    this.#storedCell = visible && options.storeHistory ? cell : 0;
    if (this.notice !== undefined && visible) {
      this.outputs.stream("stderr", `${this.notice}\n`, cell);
      this.notice = undefined;
    }
    const ready = await this.#code.prepare(magics, {
      label,
      options,
      debugging: this.debugger.isStarted,
      warn: (line) => this.outputs.stream("stderr", `${line}\n`, cell),
    });
    if ("traceback" in ready) return this.#replies.error(lane, request, options, ready);
    if (lane.interrupted) return this.#replies.error(lane, request, options, interruptedEarly);
    const { error, expressions } = await this.#runReady(work, magics, cell, ready);
    if (error) return this.#replies.error(lane, request, options, error);
    this.#replies.ok(request, expressions);
    if (lane.interrupted) this.#replies.abortQueued(lane);
  }

  async #runReady(work: Work, magics: Magics, cell: number, ready: ReadyCell): Promise<Outcome> {
    const { code, maps, declared } = ready.transformed;
    const visible = !work.options.silent;
    this.#code.begins(ready.transformed);
    const { expressions } = ready;
    const parts = { code, maps, declared, visible, expressions, time: magics.time };
    const running = this.#run(work, orderFor(work, cell, this.#inSubshell(work.lane), parts));
    // Done while the cell runs. The check of the next cell sees these declarations.
    if (visible || declared.length > 0) this.#checker.commit(cell, magics.source, ready.findings);
    const outcome = await running;
    this.#code.ended(cell, declared, outcome);
    return outcome;
  }

  /** Allocates a cell number for an execution that belongs to the request. */
  #begin(header: Header, count: number): number {
    const cell = ++this.#lastCell;
    this.outputs.begin(cell, header);
    this.#counts.set(cell, count);
    this.#counts.delete(cell - 1000);
    return cell;
  }

  #inSubshell(lane: Lane): boolean {
    return lane !== this.lanes.main;
  }

  /** Executes an order in the child and waits until it is done. */
  async #run({ lane, request }: Work, order: ExecuteOrder): Promise<Outcome> {
    if (order.code !== "") await this.debugger.beforeRun(cellFile(order.cell), order.source, order.maps);
    const outcome = await this.#child.run(lane, request, order);
    this.debugger.afterRun();
    this.#pendingInput = undefined;
    return outcome;
  }

  // Shows the type and documentation of a name in the front-end's pager.
  async #page(request: RoutedMessage, { name, source }: Inspection): Promise<void> {
    const markdown = await this.#checker.inspect(name, name.length, source).catch(() => undefined);
    this.#replies.page(request, markdown ?? `Object \`${name}\` not found.`);
  }

  #handle(message: FromChild): void {
    if (message.type === "result" && this.#storedCell === message.cell) {
      this.#links.addResultToHistory(this.#count, stripVTControlCharacters(String(message.data["text/plain"] ?? "")));
    }
    if (this.outputs.handle(message, (cell) => this.#counts.get(cell) ?? this.#count)) return;
    if (this.comms.handle(message, (cell) => this.outputs.parentOf(cell))) return;
    if (!("cell" in message)) return;
    const running = this.lanes.runningCell(message.cell);
    if (!running) return;
    if (message.type === "done") running.finish(message);
    else if (message.type === "handlesInterrupt") running.handlesInterrupt = true;
    else if (message.type === "input") {
      this.#pendingInput = { id: message.id, sync: message.sync };
      this.outputs.flush();
      this.#links.requestInput(running.request, message.prompt, message.password);
    }
  }

  /** Passes the user's input to the cell that requested it. */
  answerInput(value: string): void {
    const pending = this.#pendingInput;
    this.#pendingInput = undefined;
    if (pending) this.#child.answer(pending.id, value, pending.sync);
  }

  /** Whether a request was sent before the last interrupt but arrived after it: they come through different sockets. */
  #isInterrupted({ session, date }: Header): boolean {
    const last = this.#lastInterrupt;
    return last !== undefined && last.session === session && date < last.date;
  }

  /**
   * Interrupts the running cells.
   * @param by the header of the interrupt_request, if there was one
   */
  interrupt(by?: Header): void {
    this.#lastInterrupt = by;
    // A thread that is paused in the debugger cannot be interrupted.
    if (this.debugger.isStopped) void this.debugger.release();
    this.#child.interrupt();
  }

  /** Ends the child process. */
  async close(): Promise<void> {
    this.outputs.flush();
    await this.#child.end();
  }
}

/** An order with defaults that do nothing, overridden by `parts`. */
function orderFor(work: Work, cell: number, inSubshell: boolean, parts: Partial<ExecuteOrder>): ExecuteOrder {
  const { options, label, count } = work;
  return {
    type: "execute",
    cell,
    label,
    code: "",
    maps: { rewrite: "", strip: "", shift: 0 },
    declared: [],
    source: options.code,
    cellId: options.cellId,
    executionCount: count,
    visible: false,
    inSubshell,
    allowStdin: options.allowStdin,
    expressions: [],
    commands: [],
    time: false,
    ...parts,
  };
}
