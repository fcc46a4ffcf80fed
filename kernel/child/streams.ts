/** What cells print goes to the host, with the cell it belongs to. */
import { StringDecoder } from "node:string_decoder";
import { currentCellId } from "./cells.ts";
import { tell } from "./pipes.ts";

type StreamName = "stdout" | "stderr";

/** Text that is held back is at most so long (UTF-16 units) and so old. */
const heldLength = 16_384;
const heldMs = 2;
/** So many writes between two turns of the event loop go out at once, so that a print before a long loop is seen. */
const promptWrites = 64;

let held = "";
let heldName: StreamName = "stdout";
let heldCell = 0;
let lastFlush = 0;
let writes = 0;
let scheduled = false;

/** Sends what is held back. */
export function flushStreams(): void {
  if (held === "") return;
  const text = held;
  held = "";
  lastFlush = performance.now();
  tell({ type: "stream", cell: heldCell, name: heldName, text });
}

/** Prints text in the name of the running cell. */
export function print(name: StreamName, text: string): void {
  if (text === "") return;
  const cell = currentCellId();
  if (name !== heldName || cell !== heldCell) flushStreams();
  heldName = name;
  heldCell = cell;
  held += text;
  writes++;
  if (writes <= promptWrites || held.length >= heldLength || performance.now() - lastFlush >= heldMs) flushStreams();
  if (!scheduled) {
    scheduled = true;
    setImmediate(endOfTurn).unref();
  }
}

function endOfTurn(): void {
  scheduled = false;
  writes = 0;
  flushStreams();
}

/** Takes over `process.stdout` and `process.stderr`. Native code keeps the file descriptors, which the host reads. */
export function captureStreams(): void {
  capture("stdout");
  capture("stderr");
}

function capture(name: StreamName): void {
  const decoder = new StringDecoder("utf8");
  const stream = process[name];
  const write = (
    chunk: string | Uint8Array,
    encoding?: BufferEncoding | ((error?: Error | null) => void),
    callback?: (error?: Error | null) => void,
  ): boolean => {
    const text =
      typeof chunk === "string"
        ? typeof encoding === "string" && encoding !== "utf8" && encoding !== "utf-8"
          ? Buffer.from(chunk, encoding).toString()
          : chunk
        : decoder.write(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength));
    print(name, text);
    const done = typeof encoding === "function" ? encoding : callback;
    if (done) process.nextTick(done, null);
    return true;
  };
  stream.write = write as typeof stream.write;
  // A cell that ends the stream must not silence the cells after it.
  stream.end = ((chunk?: unknown) => {
    if (typeof chunk === "string" || chunk instanceof Uint8Array) write(chunk);
    return stream;
  }) as typeof stream.end;
  stream.destroy = (() => stream) as typeof stream.destroy;
}
