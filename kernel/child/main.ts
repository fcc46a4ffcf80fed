/**
 * Entry point of the process that runs cells. It sends their outputs and results to the host. The host can kill and
 * restart it while the front-end stays connected to the kernel.
 */
import { receiveMessageOnPort } from "node:worker_threads";
import type { ChildSettings } from "../host/protocol.ts";
import { currentCell, currentCellId } from "./cells.ts";
import { receiveComm } from "./comms.ts";
import { deno } from "./deno.ts";
import { bundleOf } from "./display.ts";
import { showError } from "./errors.ts";
import { resolveInput, syncPrompts } from "./input.ts";
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
import { createNotebook } from "./notebook.ts";
import { listen, send } from "./pipes.ts";
import { CellResult, execute, interrupt } from "./run.ts";
import { constant, peek, scope } from "./scope.ts";
import { display } from "./show.ts";
import { installStackTraces } from "./stacks.ts";
import { captureStdin } from "./stdin.ts";
import { captureStreams, flushStreams } from "./streams.ts";
import { patchWorker } from "./threads.ts";

const settings = JSON.parse(process.argv[2] ?? "{}") as ChildSettings;
process.argv.splice(1, 2, settings.notebookPath ?? "cell");
process.execArgv.splice(0);

installStackTraces();
captureStreams();
captureStdin();

const { port, worker } = startWatcher();
const prompts = syncPrompts(() => receiveMessageOnPort(port)?.message as { id: number; value: string } | undefined);
const modules = modulesFor(settings);

const globals: Record<string, unknown> = { display, ...prompts };
for (const [name, value] of Object.entries(globals)) {
  Object.defineProperty(globalThis, name, { value, writable: true, configurable: true, enumerable: false });
}
patchWorker();

const cellGlobals: Record<string, unknown> = {
  // Visible in cells only: libraries detect Deno by a global of this name.
  Deno: deno,
  require: modules.require,
  __dirname: modules.meta.dirname,
  __filename: modules.meta.filename,
};
for (const [name, value] of Object.entries(cellGlobals)) {
  Object.defineProperty(scope, name, { value, writable: true, configurable: true, enumerable: false });
}
const symbolGlobals: Record<symbol, unknown> = {
  [Symbol.for("anneal.notebook")]: createNotebook(settings),
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
for (const key of Object.getOwnPropertySymbols(symbolGlobals)) {
  Object.defineProperty(globalThis, key, { value: symbolGlobals[key], enumerable: false });
}

// SIGINT while no script runs must not end the process.
process.on("SIGINT", () => {});
process.on("exit", flushStreams);
process.on("uncaughtException", (error) => reportBackgroundError(error));
process.on("unhandledRejection", (reason) => reportBackgroundError(reason));

function reportBackgroundError(thrown: unknown): void {
  // Interrupts are already reported as the error of the interrupted cell.
  if (isInterruption(thrown)) return;
  flushStreams();
  send({ type: "error", cell: currentCellId(), error: showError(thrown) });
}

worker.on("error", (error) => send({ type: "error", cell: currentCellId(), error: showError(error) }));

listen((message) => {
  if (message.type === "execute") void execute(message, settings.folder);
  else if (message.type === "interrupt") interrupt(message.cell);
  else if (message.type === "comm") {
    try {
      receiveComm(message);
    } catch (error) {
      reportBackgroundError(error);
    } finally {
      send({ type: "commDone", serial: message.serial });
    }
  } else resolveInput(message.id, message.value);
});
send({ type: "ready" });
