/** The thread that hears the host while the main thread is busy. It must load fast and do little. */
import { Socket } from "node:net";
import { type MessagePort, workerData } from "node:worker_threads";
import { frameReader } from "../frames.ts";
import type { ToWatcher } from "../protocol.ts";

const { shared, fd, sticky, port } = workerData as {
  shared: Int32Array;
  fd: number;
  sticky: number;
  port: MessagePort;
};
// The same slots as in interrupt.ts, which this thread does not load.
const flag = 0;
const running = 1;
const asked = 2;
const answers = 3;
const finished = 4;

/** How long a cell that promised to stop by itself is left to it before its loops are stopped. */
const patienceMs = 3000;
/** How long a cell may stay busy where its own loops do not see the flag, before its script is broken by signal. */
const signalMs = 150;
/** How long a stopped cell may go on before every one of its loops is stopped for good. */
const ignoredMs = 1000;

const socket = new Socket({ fd, readable: true, writable: false });
socket.on(
  "data",
  frameReader<ToWatcher>((message) => {
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
    Atomics.store(shared, flag, cell || -1);
    if (cell === 0) return;
    setTimeout(() => {
      if (Atomics.load(shared, running) === cell) breakScript();
    }, signalMs);
    setTimeout(() => {
      if (Atomics.load(shared, running) === cell) Atomics.store(shared, flag, cell + sticky);
    }, ignoredMs);
  };
  if (cell !== 0 && Atomics.load(shared, running) === cell && Atomics.load(shared, asked) === 1) {
    setTimeout(raise, patienceMs);
  } else raise();
}

// Sent from inside of the process: when the call returns, the main thread has the signal before anything else it does,
// so that it cannot hit the next cell. To the group, so that commands which the cell waits for end too.
function breakScript(): void {
  if (process.platform !== "win32") process.kill(-process.pid, "SIGINT");
}
