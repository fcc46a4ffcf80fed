import type { Channel } from "../kernel/host/connection.ts";
import { type Message, newHeader } from "../kernel/host/wire.ts";

/** Characters that a cell may send at once; the page takes about 2 seconds to show them. */
const burst = 1_000_000;
/** Characters added to the allowance per second. */
const perSecond = 10_000;
/** Costs in addition to characters: per line, message, change of an output, and new output. */
const costs = { line: 20, text: 64, change: 512, output: 2048 };
/** Maximum characters and displays to show from the end of held-back output. */
const tailLength = 4000;
const tailDisplays = 10;
/** Number of cells whose allowance is remembered, because timers may print after their cell has ended. */
const maxRemembered = 200;

interface HeldOutput {
  /** Messages to show when the cell ends or slows down. */
  tail: Message[];
  /** A clear_output before the tail. */
  clear: Message | undefined;
  /** Last state of updated displays, by id. */
  updates: Map<string, Message>;
  leftOut: { characters: number; displays: number };
  /** Characters since the last check. */
  recently: number;
  timer: NodeJS.Timeout;
}

interface Cell {
  allowance: number;
  at: number;
  stream: unknown;
  held: HeldOutput | undefined;
}

/**
 * Limits the output of cells that print too much for a page. Output beyond an allowance is held back until the cell ends or
 * slows down; then only its end is shown, with the number of omitted characters.
 */
export class OutputLimit {
  readonly #forward: (channel: Channel, message: Message) => void;
  readonly #cells = new Map<string, Cell>();

  constructor(forward: (channel: Channel, message: Message) => void) {
    this.#forward = forward;
  }

  take(channel: Channel, message: Message): void {
    const { msg_type } = message.header;
    const id = message.parent_header.msg_id;
    if (channel === "iopub" && id !== undefined) {
      if (["stream", "display_data", "update_display_data", "clear_output"].includes(msg_type)) {
        this.#output(this.#cell(id), message);
        return;
      }
      const ends = msg_type === "error" || msg_type === "execute_result" || message.content.execution_state === "idle";
      const cell = ends ? this.#cells.get(id) : undefined;
      if (cell) this.#release(cell);
    }
    this.#forward(channel, message);
  }

  #cell(id: string): Cell {
    const existing = this.#cells.get(id);
    if (existing) return existing;
    const cell: Cell = { allowance: burst, at: performance.now(), stream: undefined, held: undefined };
    this.#cells.set(id, cell);
    const [oldest, { held }] = this.#cells.entries().next().value ?? [id, cell];
    if (this.#cells.size > maxRemembered && !held) this.#cells.delete(oldest);
    return cell;
  }

  #output(cell: Cell, message: Message): void {
    if (cell.held) {
      hold(cell.held, message);
      return;
    }
    const now = performance.now();
    cell.allowance = Math.min(burst, cell.allowance + ((now - cell.at) / 1000) * perSecond);
    cell.at = now;
    const text = textOf(message);
    // A page renders a text again with each message that appends to it.
    const cost = costOf(message, cell.stream) + (text === "" ? 0 : (burst - cell.allowance) / 20);
    cell.stream = message.content.name;
    if (text.length + cost <= cell.allowance) {
      cell.allowance -= text.length + cost;
      this.#forward("iopub", message);
      return;
    }
    // Shows the part of the text that the allowance permits.
    const cut = cutAt(text, (cell.allowance * text.length) / (text.length + cost));
    cell.allowance = 0;
    if (cut > 0) this.#forward("iopub", withText(message, text.slice(0, cut)));
    this.#addLine(message, "Too much output for the page; it is held back until the cell ends or slows down");
    const timer = setInterval(() => this.#check(cell), 1000);
    timer.unref();
    const leftOut = { characters: 0, displays: 0 };
    cell.held = { tail: [], clear: undefined, updates: new Map(), leftOut, recently: 0, timer };
    hold(cell.held, cut > 0 ? withText(message, text.slice(cut)) : message);
  }

  #check(cell: Cell): void {
    if (!cell.held) return;
    if (cell.held.recently <= perSecond) this.#release(cell);
    else cell.held.recently = 0;
  }

  #release(cell: Cell): void {
    const { held } = cell;
    if (!held) return;
    cell.held = undefined;
    clearInterval(held.timer);
    if (held.clear) this.#forward("iopub", held.clear);
    const { characters, displays } = held.leftOut;
    const parts = [
      ...(characters > 0 ? [`${count(characters)} characters`] : []),
      ...(displays > 0 ? [`${count(displays)} displays`] : []),
    ];
    const [any] = held.tail;
    if (any && parts.length > 0) this.#addLine(any, `${parts.join(" and ")} omitted`);
    for (const message of [...held.tail, ...held.updates.values()]) this.#forward("iopub", message);
  }

  /** Adds a line of the studio to a cell's output. */
  #addLine({ header, parent_header }: Message, line: string): void {
    this.#forward("iopub", {
      header: newHeader("stream", header.session, "studio"),
      parent_header,
      metadata: {},
      content: { name: "stderr", text: `\n[${line}.]\n` },
      buffers: [],
    });
  }
}

function hold(held: HeldOutput, message: Message): void {
  const { msg_type } = message.header;
  const { tail, leftOut } = held;
  const text = textOf(message);
  held.recently += text.length + costOf(message, tail.at(-1)?.content.name);
  if (msg_type === "update_display_data") {
    const id = String((message.content.transient as { display_id?: unknown } | undefined)?.display_id);
    held.updates.set(id, message);
    return;
  }
  if (msg_type === "clear_output") {
    held.clear = message;
    tail.length = 0;
    Object.assign(leftOut, { characters: 0, displays: 0 });
    return;
  }
  const last = tail.at(-1);
  if (last && msg_type === "stream" && last.content.name === message.content.name) {
    tail[tail.length - 1] = withText(message, textOf(last) + text);
  } else tail.push(message);
  // Drops messages from the front beyond the limits.
  let surplus = tail.reduce((sum, each) => sum + textOf(each).length, 0) - tailLength;
  while (surplus > 0 || tail.length > tailDisplays) {
    const first = textOf(tail[0]);
    if (tail[0].header.msg_type !== "stream") leftOut.displays++;
    if (first.length > surplus && tail.length <= tailDisplays) {
      const cut = cutAt(first, surplus);
      tail[0] = withText(tail[0], first.slice(cut));
      leftOut.characters += cut;
      return;
    }
    tail.shift();
    leftOut.characters += first.length;
    surplus -= first.length;
  }
}

const textOf = ({ header, content }: Message): string => (header.msg_type === "stream" ? String(content.text) : "");

const withText = (message: Message, text: string): Message => ({ ...message, content: { ...message.content, text } });

function costOf({ header, content }: Message, before: unknown): number {
  if (header.msg_type === "stream") {
    return (content.name === before ? costs.text : costs.output) + linesOf(String(content.text)) * costs.line;
  }
  return header.msg_type === "display_data" ? costs.output : costs.change;
}

/** Returns the cut position nearest to a length that does not split a surrogate pair. */
function cutAt(text: string, length: number): number {
  const at = Math.min(text.length, Math.max(0, Math.floor(length)));
  return /[\ud800-\udbff]/.test(text.charAt(at - 1)) ? at - 1 : at;
}

function linesOf(text: string): number {
  let lines = 0;
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) lines++;
  return lines;
}

const count = (value: number): string => value.toLocaleString("en");
