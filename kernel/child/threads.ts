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

/** Gives every thread that is started from now on `display`. What it shows is shown under the cell that started it. */
export function serveThreads(): void {
  const cells = new Map<number, number>();
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
      cells.set(this.threadId, currentCellId());
    }
  };
  syncBuiltinESMExports();
}
