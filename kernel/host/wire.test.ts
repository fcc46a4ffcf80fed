import { randomUUID } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Message, newHeader, Wire, WireError } from "./wire.ts";

const wire = new Wire("a key");

function message(content: Record<string, unknown> = { code: "1" }): Message {
  return {
    header: newHeader("execute_request", randomUUID()),
    parent_header: {},
    metadata: {},
    content,
    buffers: [Buffer.from([1, 2, 3])],
  };
}

function frames(of: Message): Buffer[] {
  return wire.encode([Buffer.from("client")], of).map((frame) => Buffer.from(frame));
}

describe("wire protocol", () => {
  test("decoding returns the encoded message with routing frames and buffers", () => {
    const sent = message({ code: "näh 🎉", list: [1, null] });
    const { identities, message: received } = wire.decode(frames(sent));
    expect(identities).toEqual([Buffer.from("client")]);
    expect(received).toEqual({ ...sent, buffers: [Buffer.from([1, 2, 3])] });
  });

  test("a message with another key is rejected", () => {
    expect(() => new Wire("another key").decode(frames(message()))).toThrow(/signature/);
  });

  test("a message with modified content is rejected", () => {
    const forged = frames(message({ code: "1" })).map((frame) =>
      frame.toString() === '{"code":"1"}' ? Buffer.from('{"code":"2"}') : frame,
    );
    expect(() => wire.decode(forged)).toThrow(/signature/);
  });

  test("an empty key disables signing", () => {
    const open = new Wire("");
    const received = open.decode(open.encode([], message()).map((frame) => Buffer.from(frame)));
    expect(received.message.content).toEqual({ code: "1" });
  });

  test("decoding random frames returns a message or throws a WireError", () => {
    const open = new Wire("");
    const frame = fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc.json().map((text) => Buffer.from(text)),
      fc.constantFrom(...frames(message())),
    );
    fc.assert(
      fc.property(fc.array(frame, { maxLength: 9 }), (frames) => {
        try {
          open.decode(frames.map((each) => Buffer.from(each)));
        } catch (error) {
          expect(error).toBeInstanceOf(WireError);
        }
      }),
      { numRuns: 2000 },
    );
  });

  test("a signature scheme other than HMAC throws an error", () => {
    expect(() => new Wire("key", "rot13")).toThrow(/unknown signature scheme "rot13"/);
  });
});
