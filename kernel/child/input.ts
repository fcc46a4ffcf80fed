/** Input from the user. */
import { currentCell } from "./cells.ts";
import { shared, stop } from "./interrupt.ts";
import { send } from "./pipes.ts";
import { slots } from "./slots.ts";
import { flushStreams } from "./streams.ts";

let nextId = 1;
const pending = new Map<number, { resolve: (value: string) => void; reject: (error: Error) => void }>();

function requestInput(prompt: string, password: boolean, sync: boolean): number {
  const cell = currentCell();
  if (!cell?.allowStdin) throw new Error(notSupported);
  flushStreams();
  const id = nextId++;
  send({ type: "input", cell: cell.id, id, prompt, password, sync });
  return id;
}

const notSupported = "the front-end does not support input (allow_stdin is false)";

/** Requests a line of input without blocking the thread. */
export function input(prompt: string, options: { password?: boolean } = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    // An exception in this callback rejects the promise.
    pending.set(requestInput(prompt, options.password ?? false, false), { resolve, reject });
  });
}

/** Settles the promise of {@link input}. */
export function resolveInput(id: number, value: string | undefined): void {
  const request = pending.get(id);
  pending.delete(id);
  if (value === undefined) request?.reject(new Error(notSupported));
  else request?.resolve(value);
}

type ReceiveReply = () => { id: number; value: string | undefined } | undefined;

/** Creates the blocking functions of browsers: `prompt`, `confirm` and `alert`. */
export function syncPrompts(receiveReply: ReceiveReply) {
  function requestInputSync(prompt: string): string {
    const id = requestInput(prompt, false, true);
    for (;;) {
      const count = Atomics.load(shared, slots.inputReplies);
      const reply = receiveReply();
      if (reply?.id === id) {
        if (reply.value === undefined) throw new Error(notSupported);
        return reply.value;
      }
      if (reply) continue;
      stop();
      Atomics.wait(shared, slots.inputReplies, count, 1000);
    }
  }
  return {
    /** Requests a line of text. @param fallback the result for an empty line */
    prompt(message = "", fallback?: string): string {
      const text = requestInputSync(message === "" ? "> " : message.replace(/\S$/, "$& "));
      return text === "" && fallback !== undefined ? fallback : text;
    },
    /** Requests a yes or no. */
    confirm(message = ""): boolean {
      return /^y(es)?$/i.test(requestInputSync(`${message} [y/N] `).trim());
    },
    /** Shows a message and waits for Enter. */
    alert(message = ""): void {
      requestInputSync(`${message} [Enter] `);
    },
  };
}
