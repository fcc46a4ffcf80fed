/** Preloaded into worker threads that cells start. */
import { BroadcastChannel, threadId } from "node:worker_threads";
import { setTransport } from "./pipes.ts";
import { display } from "./show.ts";
import { type FromThread, threadChannel } from "./threads.ts";

const channel = new BroadcastChannel(threadChannel);
channel.unref();
setTransport((message) => channel.postMessage({ thread: threadId, message } satisfies FromThread));
Object.defineProperty(globalThis, "display", { value: display, writable: true, configurable: true, enumerable: false });
