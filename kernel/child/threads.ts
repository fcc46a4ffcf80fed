/** Support for `display` in worker threads: the main thread forwards their messages to the host. */
import { syncBuiltinESMExports } from "node:module";
import threads, { BroadcastChannel, type WorkerOptions } from "node:worker_threads";
import type { FromChild } from "../host/protocol.ts";
import { currentCellId } from "./cells.ts";
import { send } from "./pipes.ts";

/** The BroadcastChannel that worker threads send their messages on. */
export const threadChannel = "anneal.threads";

/** A message from a worker thread. */
export interface FromThread {
  thread: number;
  message: FromChild;
}

const preload = new URL("./thread.js", import.meta.url).href;

/** Running threads and the cells that started them. */
const cells = new Map<number, number>();

/** How long a thread is kept after its exit event, which may overtake its last messages. */
const lateMs = 1000;

/** The number of tracked worker threads. */
export function threadCount(): number {
  return cells.size;
}

/** Patches `Worker` so that new threads have `display`. Their outputs belong to the cell that started them. */
export function patchWorker(): void {
  let channel: BroadcastChannel | undefined;
  const listen = () => {
    channel = new BroadcastChannel(threadChannel);
    channel.onmessage = (event) => {
      const { thread, message } = (event as { data: FromThread }).data;
      send({ ...message, cell: cells.get(thread) ?? currentCellId() } as FromChild);
    };
    channel.unref();
  };
  threads.Worker = class Worker extends threads.Worker {
    constructor(file: string | URL, options: WorkerOptions = {}) {
      // With `eval`, Node.js runs the code without waiting for --import.
      const text = `import(${JSON.stringify(preload)}).then(() => (0, eval)(${JSON.stringify(String(file))}))`;
      super(options.eval ? text : file, { ...options, execArgv: [...(options.execArgv ?? []), "--import", preload] });
      if (!channel) listen();
      const { threadId } = this;
      cells.set(threadId, currentCellId());
      this.once("exit", () => setTimeout(() => cells.delete(threadId), lateMs).unref());
    }
  };
  syncBuiltinESMExports();
}
