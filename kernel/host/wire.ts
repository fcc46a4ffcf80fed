/**
 * Jupyter's wire protocol: a message is a list of frames, signed with HMAC.
 * (https://jupyter-client.readthedocs.io/en/stable/messaging.html#the-wire-protocol)
 */
import { createHmac, randomUUID, timingSafeEqual } from "node:crypto";

/** The version of the messaging protocol, sent in every header. */
export const protocolVersion = "5.4";

const delimiter = Buffer.from("<IDS|MSG>");

/** A message header. */
export interface Header {
  msg_id: string;
  session: string;
  username: string;
  date: string;
  msg_type: string;
  version: string;
  /** The target subshell of a request on the shell channel. */
  subshell_id?: string | null;
}

/** A decoded message. */
export interface Message {
  header: Header;
  /** The header of the message that caused this one; empty if there is none. */
  parent_header: Header | Record<string, never>;
  metadata: Record<string, unknown>;
  content: Record<string, unknown>;
  /** Binary data. */
  buffers: Uint8Array[];
}

/** A message with its routing frames. */
export interface RoutedMessage {
  identities: Buffer[];
  message: Message;
}

/** Thrown for a message that is malformed or whose signature is wrong. */
export class WireError extends Error {}

/** Encodes and decodes signed messages. As in Jupyter, an empty key disables signing. */
export class Wire {
  readonly #key: string;
  readonly #algorithm: string;

  /**
   * @param key the connection file's `key`
   * @param scheme its `signature_scheme`, such as `hmac-sha256`
   * @throws WireError when the scheme does not start with `hmac-`
   */
  constructor(key: string, scheme = "hmac-sha256") {
    if (!scheme.startsWith("hmac-")) throw new WireError(`unknown signature scheme "${scheme}"; expected hmac-…`);
    this.#key = key;
    this.#algorithm = scheme.slice("hmac-".length);
  }

  #sign(parts: readonly Buffer[]): Buffer {
    if (this.#key === "") return Buffer.alloc(0);
    const hmac = createHmac(this.#algorithm, this.#key);
    for (const part of parts) hmac.update(part);
    return Buffer.from(hmac.digest("hex"));
  }

  /** Encodes a message as frames, routing frames first. */
  encode(identities: readonly Uint8Array[], message: Message): Uint8Array[] {
    const parts = [message.header, message.parent_header, message.metadata, message.content].map((part) =>
      Buffer.from(JSON.stringify(part)),
    );
    return [...identities, delimiter, this.#sign(parts), ...parts, ...message.buffers];
  }

  /** Decodes a message. @throws WireError when the frames are malformed or the signature is wrong */
  decode(frames: readonly Buffer[]): RoutedMessage {
    const index = frames.findIndex((frame) => frame.equals(delimiter));
    if (index < 0) throw new WireError("no <IDS|MSG> delimiter");
    const [signature, ...rest] = frames.slice(index + 1);
    if (signature === undefined || rest.length < 4)
      throw new WireError(`${frames.length - index - 1} frames after the delimiter, expected at least 5`);
    const parts = rest.slice(0, 4);
    const expected = this.#sign(parts);
    if (expected.length !== signature.length || !timingSafeEqual(expected, signature)) {
      throw new WireError("the signature does not match");
    }
    const [header, parent, metadata, content] = parts.map(parseObject);
    if (!isHeader(header)) throw new WireError("the header lacks msg_id, session or msg_type");
    return {
      identities: frames.slice(0, index) as Buffer[],
      message: {
        header,
        parent_header: isHeader(parent) ? parent : {},
        metadata: metadata ?? {},
        content: content ?? {},
        buffers: rest.slice(4),
      },
    };
  }
}

function parseObject(frame: Buffer): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(frame.toString("utf8"));
  } catch {
    throw new WireError(`a frame is not valid JSON: ${frame.toString("utf8").slice(0, 80)}`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new WireError("a frame is not a JSON object");
  return value as Record<string, unknown>;
}

function isHeader(value: unknown): value is Header {
  if (typeof value !== "object" || value === null) return false;
  const header = value as Partial<Header>;
  return typeof header.msg_id === "string" && typeof header.session === "string" && typeof header.msg_type === "string";
}

/** Creates a message header. */
export function newHeader(msgType: string, session: string, username = "kernel"): Header {
  return {
    msg_id: randomUUID(),
    session,
    username,
    date: new Date().toISOString(),
    msg_type: msgType,
    version: protocolVersion,
  };
}
