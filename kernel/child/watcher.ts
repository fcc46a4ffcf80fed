/** The thread that hears the host while the main thread is busy. It must load fast and do little. */
import { writeSync } from "node:fs";
import type { Session } from "node:inspector";
import { Socket } from "node:net";
import { type MessagePort, workerData } from "node:worker_threads";
import { encodeFrame, frameReader } from "../host/frames.ts";
import type { FromWatcher, ToWatcher } from "../host/protocol.ts";
import { breakStates, slots } from "./slots.ts";

const { shared, fd, outFd, sticky, port } = workerData as {
  shared: Int32Array;
  fd: number;
  outFd: number;
  sticky: number;
  port: MessagePort;
};
const { flag, running, asked, answers, finished, breaking } = slots;

/** How long a cell that promised to stop by itself is left to it before its loops are stopped. */
const patienceMs = 3000;
/** How long a cell may stay busy where its own loops do not see the flag, before its script is broken by signal. */
const signalMs = 150;
/** How long a stopped cell may go on before every one of its loops is stopped for good; as `cleanupMs` in cells.ts. */
const ignoredMs = 2000;

/** How often this thread looks for answers of the main thread's inspector, once there is a debugger. */
const answerMs = 20;

let inspecting: Promise<void> = Promise.resolve();
let session: Promise<Session> | undefined;

/** A session with the main thread's inspector; the module is loaded with the first debugger. */
async function openSession(): Promise<Session> {
  const { Session } = await import("node:inspector");
  const opened = new Session();
  opened.connectToMainThread();
  // Node.js 26 does not always wake this thread for the main thread's answers.
  setInterval(() => {}, answerMs);
  opened.on("inspectorNotification", (event) => {
    const { method, params = {} } = event as unknown as { method: string; params?: Record<string, unknown> };
    if (method !== "Debugger.scriptParsed") tell({ type: "event", method, params });
    else if (isOfProject(params.url)) {
      // Of the many scripts that there are, only what names them; a source map can be long.
      tell({ type: "event", method, params: { scriptId: params.scriptId, url: params.url } });
    }
  });
  return opened;
}

/** Cells and files; nobody asks for the scripts of libraries. */
function isOfProject(url: unknown): boolean {
  return typeof url === "string" && /^(anneal-cell|file):/.test(url) && !url.includes("/node_modules/");
}

async function inspect({ id, method, params }: Extract<ToWatcher, { type: "inspect" }>): Promise<void> {
  session ??= openSession();
  const opened = await session;
  opened.post(method as "Debugger.enable", params as never, (error: Error | null, result?: unknown) => {
    tell({ type: "reply", id, result, error: error ? String(error.message) : undefined });
  });
}

function tell(message: FromWatcher): void {
  const frame = encodeFrame(message);
  let written = 0;
  while (written < frame.length) {
    try {
      written += writeSync(outFd, frame, written);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") return;
    }
  }
}

const socket = new Socket({ fd, readable: true, writable: false });
socket.on(
  "data",
  frameReader<ToWatcher>((message) => {
    if (message.type === "inspect") {
      // One after the other, as they came.
      inspecting = inspecting.then(() => inspect(message));
      return;
    }
    if (message.type === "interrupt") interrupt(message.cell);
    else port.postMessage(message);
    // Whoever waits for an answer looks whether it is the one; an interrupt is an answer too.
    Atomics.add(shared, answers, 1);
    Atomics.notify(shared, answers);
  }),
);
// The host is gone. The main thread may never look again, so it is not asked.
socket.on("close", () => process.kill(process.pid, "SIGKILL"));
socket.on("error", () => process.kill(process.pid, "SIGKILL"));

function interrupt(cell: number): void {
  // The cell may not have begun: then the flag waits for it.
  const over = () => cell !== 0 && Atomics.load(shared, finished) >= cell;
  const raise = () => {
    if (over()) return;
    // Meant for what ran between the cells; by now one has begun.
    if (cell === 0 && Atomics.load(shared, running) !== 0) return;
    Atomics.store(shared, flag, cell || -1);
    if (cell === 0) return;
    setTimeout(() => breakScript(cell), signalMs);
    setTimeout(() => {
      if (Atomics.load(shared, running) === cell) Atomics.store(shared, flag, cell + sticky);
    }, ignoredMs);
  };
  if (cell !== 0 && Atomics.load(shared, running) === cell && Atomics.load(shared, asked) === 1) {
    setTimeout(raise, patienceMs);
  } else raise();
}

/** Breaks the script of a cell, if it still runs, and the commands that it waits for. */
function breakScript(cell: number): void {
  if (process.platform === "win32" || Atomics.load(shared, running) !== cell) return;
  const { outside, inside, changing, sending } = breakStates;
  for (const state of [inside, outside]) {
    if (Atomics.compareExchange(shared, breaking, state, sending) !== state) continue;
    // To the group, so that commands end too. When the call returns, the process has the signal.
    process.kill(-process.pid, "SIGINT");
    if (state === outside) Atomics.compareExchange(shared, breaking, sending, outside);
    return;
  }
  if (Atomics.load(shared, breaking) === changing) setTimeout(() => breakScript(cell), 1);
}
