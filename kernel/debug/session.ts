/**
 * Jupyter's debugger: implements the Debug Adapter Protocol with V8's inspector.
 * (https://jupyter-client.readthedocs.io/en/stable/messaging.html#debug-request,
 * https://microsoft.github.io/debug-adapter-protocol/specification)
 */
import type { Debugger, Runtime } from "node:inspector";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import type { CodeMaps } from "../host/protocol.ts";
import type { EmitOptions } from "../transform/lower.ts";
import { type Frame, framesOf, isCaught, Variables } from "./frames.ts";
import { Inspector, InspectorError } from "./inspector.ts";
import { Sources } from "./sources.ts";
import { inScope, References, scopeExpression } from "./values.ts";

/** What the debugger needs from the kernel. */
export interface DebugLinks {
  /** Sends a message to the watcher thread of the current child. */
  send: ConstructorParameters<typeof Inspector>[0];
  /** Publishes a debug event. */
  event(event: string, body: Record<string, unknown>): void;
  /** Whether cells have declared a name. */
  isDeclared(name: string): boolean;
  /** Declares a name that the debugger added to the scope. */
  declare(name: string): void;
}

type Arguments = Record<string, unknown>;
type Body = Record<string, unknown>;

const threadId = 1;
/** Maximum number of V8 steps for stepping over one line. */
const maxStepsPerLine = 500;

interface Breakpoint {
  line: number;
  /** V8's breakpoint ids, one per script. */
  ids: string[];
}

export class DebugSession {
  readonly #links: DebugLinks;
  readonly #sources: Sources;
  #inspector: Inspector;
  readonly #references = new References();
  #variables: Variables;
  readonly #breakpoints = new Map<string, Breakpoint[]>();
  /** URLs of scripts by V8's script id. */
  readonly #scripts = new Map<string, string>();
  #started = false;
  #withTypes = true;
  #frames: Frame[] | undefined;
  #nextFrame = 1;
  #filters: string[] = [];
  #step: { method: string; path: string; line: number; depth: number; count: number } | undefined;
  #isPauseRequested = false;
  #seq = 0;

  constructor(emit: EmitOptions, links: DebugLinks) {
    this.#links = links;
    this.#sources = new Sources(emit);
    this.#inspector = this.#connect();
    this.#variables = new Variables(this.#inspector, this.#references, this.#withTypes);
  }

  #connect(): Inspector {
    const inspector = new Inspector(this.#links.send);
    inspector.on("Debugger.paused", (params) => this.#paused(params as unknown as Debugger.PausedEventDataType));
    inspector.on("Debugger.resumed", () => this.#resumed());
    inspector.on("Debugger.scriptParsed", ({ scriptId, url }) => this.#scripts.set(String(scriptId), String(url)));
    return inspector;
  }

  /** The inspector, which receives the messages of the child. */
  get inspector(): Inspector {
    return this.#inspector;
  }

  get isStarted(): boolean {
    return this.#started;
  }

  /** Whether the child is paused. */
  get isStopped(): boolean {
    return this.#frames !== undefined;
  }

  /** Handles the content of a debug_request and returns that of the debug_reply. */
  async handle(request: Record<string, unknown>): Promise<Record<string, unknown>> {
    const command = String(request.command);
    const response = { type: "response", request_seq: request.seq ?? 0, seq: ++this.#seq, command };
    const handler = Object.hasOwn(this.#commands, command) ? this.#commands[command] : undefined;
    if (!handler)
      return { ...response, success: false, message: `the debugger does not support the command ${command}` };
    try {
      const body = await handler.call(this, (request.arguments ?? {}) as Arguments);
      return { ...response, success: true, body: body ?? {} };
    } catch (error) {
      return { ...response, success: false, message: error instanceof Error ? error.message : String(error) };
    }
  }

  /** Call before a cell runs: sets its breakpoints. */
  async beforeRun(url: string, text: string, maps: CodeMaps): Promise<void> {
    await this.#renewed;
    const path = this.#sources.add(url, text, maps);
    if (!this.#started) return;
    for (const breakpoint of this.#breakpoints.get(path) ?? []) await this.#setIn(url, breakpoint);
  }

  /** Call after a cell has run: ends an unfinished step. */
  afterRun(): void {
    this.#step = undefined;
  }

  /** Resumes a paused child, so that it can be interrupted. */
  async release(): Promise<void> {
    if (this.isStopped) await this.#inspector.post("Debugger.resume").catch(() => {});
  }

  #renewed: Promise<void> = Promise.resolve();

  /** Reconnects to a new child process and restores the breakpoints. */
  renew(): void {
    this.#inspector.close();
    this.#resumed();
    this.#inspector = this.#connect();
    this.#variables = new Variables(this.#inspector, this.#references, this.#withTypes);
    this.#scripts.clear();
    for (const list of this.#breakpoints.values()) for (const each of list) each.ids = [];
    if (this.#started) this.#renewed = this.#attach().catch(() => {});
  }

  async #attach(): Promise<void> {
    await this.#inspector.post("Debugger.enable");
    await this.#inspector.post("Runtime.enable");
    // Stepping skips code of Node.js, the kernel and packages.
    const own = new URL("..", import.meta.url).href.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
    await this.#inspector.post("Debugger.setBlackboxPatterns", { patterns: ["^node:", `^${own}`, "/node_modules/"] });
    await this.#pauseOnExceptions();
    for (const path of this.#breakpoints.keys()) await this.#setAll(path);
  }

  async #pauseOnExceptions(): Promise<void> {
    // The kernel catches the errors of all cells, so V8 cannot tell which are uncaught. #reasonFor() decides that.
    const state = this.#filters.length > 0 ? "all" : "none";
    if (this.#started) await this.#inspector.post("Debugger.setPauseOnExceptions", { state });
  }

  async #setAll(path: string): Promise<void> {
    const urls = this.#sources.isCell(path) ? this.#sources.scriptsOf(path) : [this.#sources.fileUrl(path)];
    for (const breakpoint of this.#breakpoints.get(path) ?? []) {
      for (const url of urls) await this.#setIn(url, breakpoint);
    }
  }

  async #setIn(url: string, breakpoint: Breakpoint): Promise<void> {
    const location = this.#sources.generated(url, breakpoint.line);
    if (!location) return;
    const { lineNumber, columnNumber, line } = location;
    // The URLs of files have a version.
    const script = url.startsWith("file:") ? { urlRegex: `^${escapeRegex(url)}(\\?.*)?$` } : { url };
    try {
      const { breakpointId } = await this.#inspector.post<Debugger.SetBreakpointByUrlReturnType>(
        "Debugger.setBreakpointByUrl",
        { ...script, lineNumber, columnNumber },
      );
      breakpoint.ids.push(breakpointId);
      breakpoint.line = line;
    } catch (error) {
      // Two lines may map to the same location, which already has a breakpoint then.
      if (!(error instanceof InspectorError)) throw error;
    }
  }

  #paused(event: Debugger.PausedEventDataType): void {
    const frames = framesOf(event.callFrames, (id) => this.#scripts.get(id), this.#sources, this.#nextFrame);
    const reason = this.#reasonFor(event, frames);
    if (reason === "again") return;
    // Resume in code that does not belong to the user.
    if (reason === undefined || frames.length === 0) {
      void this.#inspector.post("Debugger.resume").catch(() => {});
      return;
    }
    this.#step = undefined;
    this.#isPauseRequested = false;
    this.#frames = frames;
    this.#nextFrame += frames.length;
    this.#references.clear();
    const error = reason === "exception" ? (event.data as Runtime.RemoteObject | undefined) : undefined;
    this.#links.event("stopped", {
      reason,
      threadId,
      allThreadsStopped: true,
      ...(error ? { text: error.description?.split("\n")[0] ?? "", description: "Paused on an exception" } : {}),
    });
  }

  /** The reason to stay paused; undefined to resume, "again" if another V8 step was started. */
  #reasonFor(
    { callFrames, reason, hitBreakpoints = [] }: Debugger.PausedEventDataType,
    frames: readonly Frame[],
  ): string | undefined {
    const [top] = frames;
    const onTop = top !== undefined && top.call === callFrames[0];
    if (hitBreakpoints.length > 0) return "breakpoint";
    if (reason === "exception" || reason === "promiseRejection") {
      // Errors that the kernel throws to stop a cell are ignored.
      const isSelected = this.#filters.includes("raised") || !isCaught(frames, this.#sources);
      return isSelected && !isOwn(this.#scripts.get(callFrames[0]?.location.scriptId ?? "") ?? "")
        ? "exception"
        : undefined;
    }
    const step = this.#step;
    if (step) {
      const { path, line } = top?.position ?? {};
      const sameLine = line === step.line && path === step.path && frames.length >= step.depth;
      if ((onTop && !sameLine) || step.count++ >= maxStepsPerLine) return "step";
      void this.#inspector.post(onTop ? step.method : "Debugger.stepOut").catch(() => {});
      return "again";
    }
    if (this.#isPauseRequested) return "pause";
    return top && this.#isDebuggerStatement(top) ? "breakpoint" : undefined;
  }

  #isDebuggerStatement({ position }: Frame): boolean {
    const line = this.#sources.text(position.path)?.split("\n")[position.line - 1] ?? "";
    return line.startsWith("debugger", position.column - 1);
  }

  #resumed(): void {
    if (!this.#frames) return;
    this.#frames = undefined;
    this.#references.clear();
    this.#links.event("continued", { threadId, allThreadsContinued: true });
  }

  #frame(id: unknown): Frame {
    const frame = this.#frames?.find((each) => each.id === id) ?? (id === undefined ? this.#frames?.[0] : undefined);
    if (!frame) throw new Error(this.isStopped ? `there is no frame ${id}` : "no cell is paused");
    return frame;
  }

  #topFrame(): Frame {
    return this.#frame(undefined);
  }

  async #stepBy(method: string): Promise<undefined> {
    const { position } = this.#topFrame();
    this.#step = { method, path: position.path, line: position.line, depth: this.#frames?.length ?? 0, count: 0 };
    await this.#inspector.post(method);
    return undefined;
  }

  async #evaluate(expression: string, frameId: unknown): Promise<Runtime.RemoteObject> {
    const frame = this.isStopped ? this.#frame(frameId) : undefined;
    const own = new Set<string>();
    if (frame && !frame.isCell) {
      for (const { name } of [...(await this.#variables.locals(frame)), ...(await this.#variables.closure(frame))]) {
        own.add(name);
      }
    }
    const rewritten = inScope(expression, (name) => this.#links.isDeclared(name) && !own.has(name));
    const { result, exceptionDetails } = await (frame
      ? this.#inspector.post<Debugger.EvaluateOnCallFrameReturnType>("Debugger.evaluateOnCallFrame", {
          callFrameId: frame.call.callFrameId,
          expression: rewritten,
          generatePreview: true,
        })
      : this.#inspector.post<Runtime.EvaluateReturnType>("Runtime.evaluate", {
          expression: rewritten,
          generatePreview: true,
          awaitPromise: true,
        }));
    if (exceptionDetails) {
      const description = exceptionDetails.exception?.description ?? exceptionDetails.text;
      throw new Error(description.split("\n")[0]);
    }
    return result;
  }

  // One handler per command. Each returns the body of the response.
  readonly #commands: Readonly<Record<string, (args: Arguments) => Promise<Body | undefined> | Body | undefined>> = {
    debugInfo: () => ({
      isStarted: this.#started,
      hashMethod: "Murmur2",
      hashSeed: this.#sources.seed,
      tmpFilePrefix: this.#sources.prefix,
      tmpFileSuffix: this.#sources.suffix,
      breakpoints: [...this.#breakpoints].map(([source, list]) => ({
        source,
        breakpoints: list.map(({ line }) => ({ line })),
      })),
      stoppedThreads: this.isStopped ? [threadId] : [],
      richRendering: true,
      exceptionPaths: ["TypeScript"],
      copyToGlobals: true,
    }),
    initialize: ({ clientID }) => {
      this.#started = true;
      // JupyterLab shows the value of a variable only if its type is a Python type or missing.
      this.#withTypes = clientID !== "jupyterlab";
      this.#variables = new Variables(this.#inspector, this.#references, this.#withTypes);
      return {
        supportsConfigurationDoneRequest: true,
        supportsEvaluateForHovers: true,
        supportsModulesRequest: true,
        supportsExceptionInfoRequest: false,
        supportsTerminateDebuggee: false,
        supportsSetVariable: false,
        supportsConditionalBreakpoints: false,
        exceptionBreakpointFilters: [
          { filter: "raised", label: "Raised Exceptions", default: false },
          { filter: "uncaught", label: "Uncaught Exceptions", default: false },
        ],
      };
    },
    attach: async () => {
      this.#started = true;
      await this.#attach();
      this.#links.event("initialized", {});
      return undefined;
    },
    configurationDone: () => undefined,
    dumpCell: ({ code }) => ({ sourcePath: this.#sources.registerText(String(code ?? "")) }),
    setBreakpoints: async ({ source, breakpoints = [] }) => {
      const path = String((source as { path?: unknown } | undefined)?.path ?? "");
      for (const { ids } of this.#breakpoints.get(path) ?? []) {
        for (const breakpointId of ids) await this.#inspector.post("Debugger.removeBreakpoint", { breakpointId });
      }
      const created = (breakpoints as { line: number }[]).map(({ line }): Breakpoint => ({ line, ids: [] }));
      if (created.length > 0) this.#breakpoints.set(path, created);
      else this.#breakpoints.delete(path);
      if (this.#started) await this.#setAll(path);
      return {
        breakpoints: created.map(({ line }, index) => ({ id: index + 1, verified: true, line, source: { path } })),
      };
    },
    setExceptionBreakpoints: async ({ filters = [] }) => {
      this.#filters = (filters as unknown[]).map(String);
      await this.#pauseOnExceptions();
      return undefined;
    },
    source: ({ source }) => {
      const path = String((source as { path?: unknown } | undefined)?.path ?? "");
      const content = this.#sources.text(path);
      if (content === undefined) throw new Error(`there is no source ${path}`);
      return { content, mimeType: "text/typescript" };
    },
    modules: () => {
      const urls = [...this.#scripts.values()].filter((url) => /\.m?tsx?(\?|$)/.test(url));
      const paths = [...new Set(urls.map((url) => fileURLToPath(url.replace(/\?.*$/, ""))))];
      return { modules: paths.map((path, id) => ({ id, name: basename(path), path })), totalModules: paths.length };
    },
    threads: () => ({ threads: [{ id: threadId, name: "main" }] }),
    stackTrace: () => ({
      stackFrames: (this.#frames ?? []).map(({ id, name, position: { path, line, column } }) => ({
        id,
        name,
        source: { path, name: basename(path) },
        line,
        column,
      })),
      totalFrames: this.#frames?.length ?? 0,
    }),
    scopes: async ({ frameId }) => {
      const frame = this.#frame(frameId);
      const scope = (name: string, read: () => Promise<unknown>) => ({
        name,
        variablesReference: this.#references.add(read as () => ReturnType<Variables["locals"]>),
        expensive: false,
      });
      const scopes = [scope("Locals", () => this.#variables.locals(frame))];
      if (frame.isCell) return { scopes };
      if ((await this.#variables.closure(frame)).length > 0) {
        scopes.push(scope("Closure", () => this.#variables.closure(frame)));
      }
      return { scopes: [...scopes, scope("Notebook", () => this.#variables.notebook())] };
    },
    variables: async ({ variablesReference }) => ({
      variables: await this.#references.get(Number(variablesReference)),
    }),
    inspectVariables: async () => ({ variables: await this.#variables.notebook() }),
    evaluate: async ({ expression, frameId }) => {
      const value = await this.#evaluate(String(expression ?? ""), frameId);
      const { value: result, ...rest } = this.#variables.variable("", value, String(expression));
      return { ...rest, result };
    },
    richInspectVariables: async ({ variableName, frameId }) => {
      const name = String(variableName);
      const bundle = `globalThis[Symbol.for("anneal.cell")].bundle(${name})`;
      const { objectId } = await this.#evaluate(bundle, frameId);
      // The bundle may be a promise, which cannot resolve while the thread is paused.
      const { result } = await this.#inspector.post<Runtime.CallFunctionOnReturnType>("Runtime.callFunctionOn", {
        objectId,
        functionDeclaration: "function () { return this }",
        returnByValue: true,
        awaitPromise: !this.isStopped,
      });
      return { data: result.value ?? {}, metadata: {} };
    },
    copyToGlobals: async ({ srcVariableName, dstVariableName, srcFrameId }) => {
      const target = String(dstVariableName ?? srcVariableName);
      await this.#evaluate(`${scopeExpression}[${JSON.stringify(target)}] = (${srcVariableName})`, srcFrameId);
      this.#links.declare(target);
      return undefined;
    },
    continue: async () => {
      this.#topFrame();
      await this.#inspector.post("Debugger.resume");
      return { allThreadsContinued: true };
    },
    next: () => this.#stepBy("Debugger.stepOver"),
    stepIn: () => this.#stepBy("Debugger.stepInto"),
    stepOut: () => this.#stepBy("Debugger.stepOut"),
    pause: async () => {
      this.#isPauseRequested = true;
      await this.#inspector.post("Debugger.pause");
      return undefined;
    },
    disconnect: () => this.#disconnect(),
    terminate: () => this.#disconnect(),
  };

  async #disconnect(): Promise<undefined> {
    if (!this.#started) return undefined;
    this.#started = false;
    for (const list of this.#breakpoints.values()) for (const each of list) each.ids = [];
    await this.#inspector.post("Debugger.disable");
    await this.#inspector.post("Runtime.disable");
    this.#resumed();
    return undefined;
  }
}

function isOwn(url: string): boolean {
  return url.startsWith(new URL("..", import.meta.url).href);
}

function escapeRegex(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}
