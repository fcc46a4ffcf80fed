/** Loaded by worker threads before their own code. */
import { BroadcastChannel, threadId } from "node:worker_threads";
import { sendBy } from "./pipes.ts";
import { display } from "./show.ts";
import { type FromThread, threadChannel } from "./threads.ts";

const channel = new BroadcastChannel(threadChannel);
channel.unref();
sendBy((message) => channel.postMessage({ thread: threadId, message } satisfies FromThread));
Object.defineProperty(globalThis, "display", { value: display, writable: true, configurable: true, enumerable: false });
