/** Asking the person at the notebook. */
import { currentCell } from "./cells.ts";
import { shared, stop } from "./interrupt.ts";
import { tell } from "./pipes.ts";
import { slots } from "./slots.ts";
import { flushStreams } from "./streams.ts";

let nextId = 1;
const waiting = new Map<number, { resolve: (value: string) => void; reject: (error: Error) => void }>();

function ask(prompt: string, password: boolean, sync: boolean): number {
  const cell = currentCell();
  if (!cell?.allowStdin) throw new Error(refusal);
  flushStreams();
  const id = nextId++;
  tell({ type: "input", cell: cell.id, id, prompt, password, sync });
  return id;
}

const refusal = "the front-end that runs this cell takes no input (allow_stdin is false)";

/** Asks, and leaves the thread to others meanwhile. */
export function input(prompt: string, options: { password?: boolean } = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    // A throw in here rejects.
    waiting.set(ask(prompt, options.password ?? false, false), { resolve, reject });
  });
}

/** Takes the answer to {@link input}. */
export function answer(id: number, value: string | undefined): void {
  const asker = waiting.get(id);
  waiting.delete(id);
  if (value === undefined) asker?.reject(new Error(refusal));
  else asker?.resolve(value);
}

type TakeAnswer = () => { id: number; value: string | undefined } | undefined;

/** Makes the questions that hold the thread until they are answered, as browsers have them. */
export function syncQuestions(takeAnswer: TakeAnswer) {
  function askSync(prompt: string): string {
    const id = ask(prompt, false, true);
    for (;;) {
      const seen = Atomics.load(shared, slots.answers);
      const given = takeAnswer();
      if (given?.id === id) {
        if (given.value === undefined) throw new Error(refusal);
        return given.value;
      }
      if (given) continue;
      stop();
      Atomics.wait(shared, slots.answers, seen, 1000);
    }
  }
  return {
    /** Asks for a line of text; the default stands for an empty answer. */
    prompt(message = "", otherwise?: string): string {
      const text = askSync(message === "" ? "> " : message.replace(/\S$/, "$& "));
      return text === "" && otherwise !== undefined ? otherwise : text;
    },
    /** Asks for a yes or no. */
    confirm(message = ""): boolean {
      return /^y(es)?$/i.test(askSync(`${message} [y/N] `).trim());
    },
    /** Shows a message and waits until it was read. */
    alert(message = ""): void {
      askSync(`${message} [Enter] `);
    },
  };
}
