/**
 * Jupyter's wire format: a message is a list of frames, signed with HMAC.
 * (https://jupyter-client.readthedocs.io/en/stable/messaging.html#the-wire-protocol)
 */
import { createHmac, randomUUID, timingSafeEqual } from "node:crypto";

/** The version of the messaging protocol that every header names. */
export const protocolVersion = "5.4";

const delimiter = Buffer.from("<IDS|MSG>");

/** Who sent a message, when, and of what type. */
export interface Header {
  msg_id: string;
  session: string;
  username: string;
  date: string;
  msg_type: string;
  version: string;
  /** The subshell that a request is for, in requests on the shell channel. */
  subshell_id?: string | null;
}

/** One message as both sides of a kernel see it. */
export interface Message {
  header: Header;
  /** The header of the message that caused this one; empty where none did. */
  parent_header: Header | Record<string, never>;
  metadata: Record<string, unknown>;
  content: Record<string, unknown>;
  /** Binary data beside the JSON. */
  buffers: Uint8Array[];
}

/** A message together with the routing frames it came with. */
export interface RoutedMessage {
  identities: Buffer[];
  message: Message;
}

/** Why a list of frames is not a message that may be trusted. */
export class WireError extends Error {}

/** Reads and writes signed messages under one key. An empty key turns signing off, as Jupyter has it. */
export class Wire {
  readonly #key: string;
  readonly #algorithm: string;

  /**
   * @param key the connection file's `key`
   * @param scheme its `signature_scheme`, such as `hmac-sha256`
   * @throws WireError when the scheme is none of `hmac-*`
   */
  constructor(key: string, scheme = "hmac-sha256") {
    if (!scheme.startsWith("hmac-")) throw new WireError(`signature scheme "${scheme}" is not known; expected hmac-…`);
    this.#key = key;
    this.#algorithm = scheme.slice("hmac-".length);
  }

  #sign(parts: readonly Buffer[]): Buffer {
    if (this.#key === "") return Buffer.alloc(0);
    const hmac = createHmac(this.#algorithm, this.#key);
    for (const part of parts) hmac.update(part);
    return Buffer.from(hmac.digest("hex"));
  }

  /** The frames of a message, routing frames first. */
  encode(identities: readonly Uint8Array[], message: Message): Uint8Array[] {
    const parts = [message.header, message.parent_header, message.metadata, message.content].map((part) =>
      Buffer.from(JSON.stringify(part)),
    );
    return [...identities, delimiter, this.#sign(parts), ...parts, ...message.buffers];
  }

  /** @throws WireError when the frames are malformed or the signature is not ours */
  decode(frames: readonly Buffer[]): RoutedMessage {
    const at = frames.findIndex((frame) => frame.equals(delimiter));
    if (at < 0) throw new WireError("no <IDS|MSG> delimiter");
    const [signature, ...rest] = frames.slice(at + 1);
    if (signature === undefined || rest.length < 4)
      throw new WireError(`${frames.length - at - 1} frames after the delimiter, expected at least 5`);
    const parts = rest.slice(0, 4);
    const expected = this.#sign(parts);
    if (expected.length !== signature.length || !timingSafeEqual(expected, signature)) {
      throw new WireError("the signature does not match");
    }
    const [header, parent, metadata, content] = parts.map(parseObject);
    if (!isHeader(header)) throw new WireError("the header lacks msg_id, session or msg_type");
    return {
      identities: frames.slice(0, at) as Buffer[],
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
    throw new WireError(`a part is no JSON: ${frame.toString("utf8").slice(0, 80)}`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new WireError("a part is no JSON object");
  return value as Record<string, unknown>;
}

function isHeader(value: unknown): value is Header {
  if (typeof value !== "object" || value === null) return false;
  const header = value as Partial<Header>;
  return typeof header.msg_id === "string" && typeof header.session === "string" && typeof header.msg_type === "string";
}

/** A fresh header. */
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
