/** Worker threads that cells start have `display` too: the main thread shows for them. */
import { syncBuiltinESMExports } from "node:module";
import threads, { BroadcastChannel, type WorkerOptions } from "node:worker_threads";
import type { FromChild } from "../host/protocol.ts";
import { currentCellId } from "./cells.ts";
import { tell } from "./pipes.ts";

/** The channel that threads tell on what they show. */
export const threadChannel = "anneal.threads";

/** What a thread tells. */
export interface FromThread {
  thread: number;
  message: FromChild;
}

const preload = new URL("./thread.js", import.meta.url).href;

/** The cell that started each thread that runs. */
const cells = new Map<number, number>();

/** What a thread showed last may arrive after its end, which is told on another way. */
const lateMs = 1000;

/** How many threads of cells are known. */
export function knownThreads(): number {
  return cells.size;
}

/** Gives every thread that is started from now on `display`. What it shows is shown under the cell that started it. */
export function serveThreads(): void {
  let channel: BroadcastChannel | undefined;
  const listen = () => {
    channel = new BroadcastChannel(threadChannel);
    channel.onmessage = (event) => {
      const { thread, message } = (event as { data: FromThread }).data;
      tell({ ...message, cell: cells.get(thread) ?? currentCellId() } as FromChild);
    };
    channel.unref();
  };
  threads.Worker = class Worker extends threads.Worker {
    constructor(file: string | URL, options: WorkerOptions = {}) {
      // Node.js runs the text of a thread without waiting for what is imported before it.
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
