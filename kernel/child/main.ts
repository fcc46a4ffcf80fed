/**
 * The process that user code lives in. It runs cells on its main thread, tells the host what they print, show and
 * return, and can be killed and started again without the front-end losing its kernel.
 */
import { receiveMessageOnPort } from "node:worker_threads";
import type { ChildSettings } from "../host/protocol.ts";
import { currentCell, currentCellId } from "./cells.ts";
import { receiveComm } from "./comms.ts";
import { deno } from "./deno.ts";
import { bundleOf } from "./display.ts";
import { showError } from "./errors.ts";
import { answer, syncQuestions } from "./input.ts";
import {
  caught,
  cleanup,
  enter,
  isInterruption,
  iterate,
  leave,
  resume,
  shared,
  startWatcher,
  stop,
  wait,
} from "./interrupt.ts";
import { modulesFor } from "./modules.ts";
import { makeNotebook } from "./notebook.ts";
import { listen, tell } from "./pipes.ts";
import { CellResult, execute, interrupt } from "./run.ts";
import { constant, peek, scope } from "./scope.ts";
import { display } from "./show.ts";
import { installStackTraces } from "./stacks.ts";
import { captureStdin } from "./stdin.ts";
import { captureStreams, flushStreams } from "./streams.ts";
import { serveThreads } from "./threads.ts";

const settings = JSON.parse(process.argv[2] ?? "{}") as ChildSettings;
process.argv.splice(1, 2, settings.notebookPath ?? "cell");
process.execArgv.splice(0);

installStackTraces();
captureStreams();
captureStdin();

const { port, worker } = startWatcher();
// The answers lie in the port until somebody who holds the thread looks.
const questions = syncQuestions(() => receiveMessageOnPort(port)?.message as { id: number; value: string } | undefined);
const modules = modulesFor(settings);

const globals: Record<string, unknown> = { display, ...questions };
for (const [name, value] of Object.entries(globals)) {
  Object.defineProperty(globalThis, name, { value, writable: true, configurable: true, enumerable: false });
}
serveThreads();

const named: Record<string, unknown> = {
  // A name of cells only: libraries take a global of this name for the whole of Deno.
  Deno: deno,
  require: modules.require,
  __dirname: modules.meta.dirname,
  __filename: modules.meta.filename,
};
for (const [name, value] of Object.entries(named)) {
  Object.defineProperty(scope, name, { value, writable: true, configurable: true, enumerable: false });
}
const hidden: Record<symbol, unknown> = {
  [Symbol.for("anneal.notebook")]: makeNotebook(settings),
  [Symbol.for("anneal.cell")]: {
    scope,
    peek,
    constant,
    flag: shared,
    stop,
    resume,
    enter,
    caught,
    cleanup,
    leave,
    wait,
    iterate,
    cell: currentCellId,
    result: (value: unknown) => new CellResult(value),
    import: modules.import,
    bind: modules.bind,
    meta: modules.meta,
    bundle: bundleOf,
    use: (value: unknown, kind: "sync" | "async") => currentCell()?.use(value, kind),
  },
};
for (const key of Object.getOwnPropertySymbols(hidden)) {
  Object.defineProperty(globalThis, key, { value: hidden[key], enumerable: false });
}

// An interrupt that finds no script to break must not end the process.
process.on("SIGINT", () => {});
process.on("exit", flushStreams);
process.on("uncaughtException", (error) => background(error));
process.on("unhandledRejection", (reason) => background(reason));

function background(thrown: unknown): void {
  // The interrupted cell itself is told of it, and what it still throws is the end it was given.
  if (isInterruption(thrown)) return;
  flushStreams();
  tell({ type: "error", cell: currentCellId(), error: showError(thrown) });
}

worker.on("error", (error) => tell({ type: "error", cell: currentCellId(), error: showError(error) }));

listen((message) => {
  if (message.type === "execute") void execute(message, settings.folder);
  else if (message.type === "interrupt") interrupt(message.cell);
  else if (message.type === "comm") {
    try {
      receiveComm(message);
    } catch (error) {
      background(error);
    } finally {
      tell({ type: "commDone", serial: message.serial });
    }
  } else answer(message.id, message.value);
});
tell({ type: "ready" });
