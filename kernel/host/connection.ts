/** The connection file: where a kernel listens and with which key. */
import { readFileSync } from "node:fs";

/** What a connection file says, as Jupyter names it. */
export interface Connection {
  transport: string;
  ip: string;
  shell_port: number;
  control_port: number;
  iopub_port: number;
  stdin_port: number;
  hb_port: number;
  key: string;
  signature_scheme: string;
}

/** The sockets of a kernel that carry messages. */
export type Channel = "shell" | "control" | "iopub" | "stdin";

/**
 * Reads a connection file.
 * @throws Error that says what is missing or malformed
 */
export function readConnection(path: string): Connection {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    throw new Error(`cannot read the connection file ${path}: ${error instanceof Error ? error.message : error}`);
  }
  const given = (typeof value === "object" && value !== null ? value : {}) as Record<string, unknown>;
  const port = (name: string) => {
    const at = given[name];
    if (typeof at !== "number" || !Number.isInteger(at)) {
      throw new Error(`connection file ${path}: ${name} is ${JSON.stringify(at)}, expected a port number`);
    }
    return at;
  };
  const text = (name: string, otherwise: string) => {
    const at = given[name];
    return typeof at === "string" ? at : otherwise;
  };
  return {
    transport: text("transport", "tcp"),
    ip: text("ip", "127.0.0.1"),
    shell_port: port("shell_port"),
    control_port: port("control_port"),
    iopub_port: port("iopub_port"),
    stdin_port: port("stdin_port"),
    hb_port: port("hb_port"),
    key: text("key", ""),
    signature_scheme: text("signature_scheme", "hmac-sha256"),
  };
}

/** The address of one socket, in ZeroMQ's form. */
export function address(connection: Connection, socket: Channel | "hb"): string {
  const port = connection[`${socket}_port`];
  const separator = connection.transport === "ipc" ? "-" : ":";
  return `${connection.transport}://${connection.ip}${separator}${port}`;
}
