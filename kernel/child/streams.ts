/** Sends stdout and stderr of cells to the host. */
import { StringDecoder } from "node:string_decoder";
import { currentCellId } from "./cells.ts";
import { send } from "./pipes.ts";

type StreamName = "stdout" | "stderr";

/** Limits of the buffer: length in UTF-16 units and age. */
const maxBufferLength = 16_384;
const maxBufferMs = 2;
/** The first writes of an event loop turn are sent at once, so that a print before a long loop is visible. */
const immediateWrites = 64;

let buffer = "";
let bufferName: StreamName = "stdout";
let bufferCell = 0;
let lastFlush = 0;
let writes = 0;
let scheduled = false;

/** Sends the buffered text. */
export function flushStreams(): void {
  if (buffer === "") return;
  const text = buffer;
  buffer = "";
  lastFlush = performance.now();
  send({ type: "stream", cell: bufferCell, name: bufferName, text });
}

/** Prints text as output of the running cell. */
export function print(name: StreamName, text: string): void {
  if (text === "") return;
  const cell = currentCellId();
  if (name !== bufferName || cell !== bufferCell) flushStreams();
  bufferName = name;
  bufferCell = cell;
  buffer += text;
  writes++;
  if (writes <= immediateWrites || buffer.length >= maxBufferLength || performance.now() - lastFlush >= maxBufferMs)
    flushStreams();
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

/** Patches `process.stdout` and `process.stderr`. Native code writes to the file descriptors, which the host reads. */
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
  // If a cell ends the stream, later cells can still write.
  stream.end = ((chunk?: unknown) => {
    if (typeof chunk === "string" || chunk instanceof Uint8Array) write(chunk);
    return stream;
  }) as typeof stream.end;
  stream.destroy = (() => stream) as typeof stream.destroy;
}
