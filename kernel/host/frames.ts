/** The framing of messages on the pipes between host and child: a length, then a structured clone. */
import { deserialize, serialize } from "node:v8";

/** Encodes a value: its length in 4 bytes, then the value. */
export function encodeFrame(value: unknown): Buffer {
  const body = serialize(value);
  const frame = Buffer.allocUnsafe(4 + body.length);
  frame.writeUInt32LE(body.length, 0);
  body.copy(frame, 4);
  return frame;
}

/** Returns a function that accepts chunks of bytes and calls `receive` for each complete value. */
export function frameReader<T>(receive: (value: T) => void): (chunk: Buffer) => void {
  let chunks: Buffer[] = [];
  let buffered = 0;
  return (chunk) => {
    chunks.push(chunk);
    buffered += chunk.length;
    if (buffered < 4) return;
    // Chunks are concatenated only once a frame is complete, so that a big frame is not copied once per chunk.
    let first = chunks[0] ?? Buffer.alloc(0);
    if (first.length < 4) {
      first = Buffer.concat(chunks);
      chunks = [first];
    }
    if (buffered < 4 + first.readUInt32LE(0)) return;
    let bytes = chunks.length === 1 ? first : Buffer.concat(chunks);
    while (bytes.length >= 4) {
      const size = bytes.readUInt32LE(0);
      if (bytes.length < 4 + size) break;
      const value = deserialize(bytes.subarray(4, 4 + size)) as T;
      bytes = bytes.subarray(4 + size);
      receive(value);
    }
    chunks = bytes.length > 0 ? [bytes] : [];
    buffered = bytes.length;
  };
}
