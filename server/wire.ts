import type { Message } from "../kernel/host/wire.ts";

/** Subprotocol of JupyterLab's kernel connections since Jupyter Server 2. */
export const subprotocol = "v1.kernel.websocket.jupyter.org";

/** Encodes a kernel message as a websocket frame: offsets, channel, header, parent, metadata, content, buffers. */
export function encodeFrame(channel: string, message: Message): Buffer {
  const json = (value: unknown) => Buffer.from(JSON.stringify(value ?? {}));
  const parts = [
    Buffer.from(channel),
    json(message.header),
    json(message.parent_header),
    json(message.metadata),
    json(message.content),
    ...(message.buffers ?? []).map((buffer) => Buffer.from(buffer)),
  ];
  const count = parts.length + 1;
  const head = Buffer.alloc(8 * (count + 1));
  head.writeBigUInt64LE(BigInt(count), 0);
  let offset = head.length;
  parts.forEach((part, i) => {
    head.writeBigUInt64LE(BigInt(offset), 8 * (i + 1));
    offset += part.length;
  });
  head.writeBigUInt64LE(BigInt(offset), 8 * count);
  return Buffer.concat([head, ...parts]);
}

/** Decodes a frame of {@link encodeFrame}. Throws on an invalid frame. */
export function decodeFrame(frame: Buffer): { channel: string; message: Message } {
  const count = Number(frame.readBigUInt64LE(0));
  if (count < 6 || 8 * (count + 1) > frame.length) throw new RangeError(`invalid frame with ${count} offsets`);
  const offsets = Array.from({ length: count }, (_, i) => Number(frame.readBigUInt64LE(8 * (i + 1))));
  const parts = offsets.slice(0, -1).map((start, i) => frame.subarray(start, offsets[i + 1]));
  const [header, parent_header, metadata, content] = parts.slice(1, 5).map((part) => JSON.parse(part.toString("utf8")));
  return {
    channel: parts[0].toString("utf8"),
    message: { header, parent_header, metadata, content, buffers: parts.slice(5) },
  };
}
