/** The watcher thread, which receives messages of the host while the main thread is busy. It must load fast. */
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
const { flag, running, handlesInterrupt, inputReplies, finished, breaking } = slots;

/** How long a cell that handles interrupts itself may continue before its loops are stopped. */
const selfStopMs = 3000;
/** How long a cell may run without checking the flag before it gets a SIGINT. */
const signalMs = 150;
/** How long a cell may continue after an interrupt before the flag becomes sticky. Same as `cleanupMs` in cells.ts. */
const ignoredMs = 2000;

/** How often this thread wakes up for replies of the inspector while a debugger is attached. */
const pollMs = 20;

let inspecting: Promise<void> = Promise.resolve();
let session: Promise<Session> | undefined;

/** Connects to the main thread's inspector. The module is loaded only when a debugger attaches. */
async function openSession(): Promise<Session> {
  const { Session } = await import("node:inspector");
  const opened = new Session();
  opened.connectToMainThread();
  // Node.js 26 does not always wake this thread for the main thread's replies.
  setInterval(() => {}, pollMs);
  opened.on("inspectorNotification", (event) => {
    const { method, params = {} } = event as unknown as { method: string; params?: Record<string, unknown> };
    if (method !== "Debugger.scriptParsed") send({ type: "event", method, params });
    else if (isOfProject(params.url)) {
      // There are many scripts and their source maps can be long, so only id and URL are sent.
      send({ type: "event", method, params: { scriptId: params.scriptId, url: params.url } });
    }
  });
  return opened;
}

/** Whether a script is a cell or a file of the project, as opposed to a library. */
function isOfProject(url: unknown): boolean {
  return typeof url === "string" && /^(anneal-cell|file):/.test(url) && !url.includes("/node_modules/");
}

async function inspect({ id, method, params }: Extract<ToWatcher, { type: "inspect" }>): Promise<void> {
  session ??= openSession();
  const opened = await session;
  opened.post(method as "Debugger.enable", params as never, (error: Error | null, result?: unknown) => {
    send({ type: "reply", id, result, error: error ? String(error.message) : undefined });
  });
}

function send(message: FromWatcher): void {
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
      // Requests are sent in order.
      inspecting = inspecting.then(() => inspect(message));
      return;
    }
    if (message.type === "interrupt") interrupt(message.cell);
    else port.postMessage(message);
    // Wakes a blocking prompt, which checks for its reply and for an interrupt.
    Atomics.add(shared, inputReplies, 1);
    Atomics.notify(shared, inputReplies);
  }),
);
// The host has exited. The main thread may be busy forever, so the process is killed.
socket.on("close", () => process.kill(process.pid, "SIGKILL"));
socket.on("error", () => process.kill(process.pid, "SIGKILL"));

function interrupt(cell: number): void {
  // If the cell has not started yet, the flag stays set until it does.
  const isFinished = () => cell !== 0 && Atomics.load(shared, finished) >= cell;
  const setFlag = () => {
    if (isFinished()) return;
    // The interrupt was for code outside cells, but a cell has started since.
    if (cell === 0 && Atomics.load(shared, running) !== 0) return;
    Atomics.store(shared, flag, cell || -1);
    if (cell === 0) return;
    setTimeout(() => sendSigint(cell), signalMs);
    setTimeout(() => {
      if (Atomics.load(shared, running) === cell) Atomics.store(shared, flag, cell + sticky);
    }, ignoredMs);
  };
  if (cell !== 0 && Atomics.load(shared, running) === cell && Atomics.load(shared, handlesInterrupt) === 1) {
    setTimeout(setFlag, selfStopMs);
  } else setFlag();
}

/** Sends SIGINT to interrupt the script of a running cell and its subprocesses. */
function sendSigint(cell: number): void {
  if (process.platform === "win32" || Atomics.load(shared, running) !== cell) return;
  const { outside, inside, changing, sending } = breakStates;
  for (const state of [inside, outside]) {
    if (Atomics.compareExchange(shared, breaking, state, sending) !== state) continue;
    // To the process group, so that subprocesses stop too. When the call returns, the process has the signal.
    process.kill(-process.pid, "SIGINT");
    if (state === outside) Atomics.compareExchange(shared, breaking, sending, outside);
    return;
  }
  if (Atomics.load(shared, breaking) === changing) setTimeout(() => sendSigint(cell), 1);
}
