/** How the host and the child frame what they tell each other on a pipe: a length, then a structured clone. */
import { deserialize, serialize } from "node:v8";

/** One value as bytes: its length in 4 bytes, then the value. */
export function encodeFrame(value: unknown): Buffer {
  const body = serialize(value);
  const frame = Buffer.allocUnsafe(4 + body.length);
  frame.writeUInt32LE(body.length, 0);
  body.copy(frame, 4);
  return frame;
}

/** Returns a function that takes bytes as they arrive and calls `receive` for every whole value in them. */
export function frameReader<T>(receive: (value: T) => void): (chunk: Buffer) => void {
  let chunks: Buffer[] = [];
  let held = 0;
  return (chunk) => {
    chunks.push(chunk);
    held += chunk.length;
    if (held < 4) return;
    // Joining only when a whole frame may be there keeps a big frame from being copied once per chunk.
    let first = chunks[0] ?? Buffer.alloc(0);
    if (first.length < 4) {
      first = Buffer.concat(chunks);
      chunks = [first];
    }
    if (held < 4 + first.readUInt32LE(0)) return;
    let bytes = chunks.length === 1 ? first : Buffer.concat(chunks);
    while (bytes.length >= 4) {
      const size = bytes.readUInt32LE(0);
      if (bytes.length < 4 + size) break;
      const value = deserialize(bytes.subarray(4, 4 + size)) as T;
      bytes = bytes.subarray(4 + size);
      receive(value);
    }
    chunks = bytes.length > 0 ? [bytes] : [];
    held = bytes.length;
  };
}
