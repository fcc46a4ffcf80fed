/** Reading Jupyter's connection file. */
import { readFileSync } from "node:fs";

/** The content of a connection file. */
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

/** The channels that carry messages. */
export type Channel = "shell" | "control" | "iopub" | "stdin";

/**
 * Reads a connection file.
 * @throws Error when the file cannot be read or a port is missing
 */
export function readConnection(path: string): Connection {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    throw new Error(`cannot read the connection file ${path}: ${error instanceof Error ? error.message : error}`);
  }
  const fields = (typeof value === "object" && value !== null ? value : {}) as Record<string, unknown>;
  const port = (name: string) => {
    const field = fields[name];
    if (typeof field !== "number" || !Number.isInteger(field)) {
      throw new Error(`connection file ${path}: ${name} is ${JSON.stringify(field)}, expected a port number`);
    }
    return field;
  };
  const text = (name: string, fallback: string) => {
    const field = fields[name];
    return typeof field === "string" ? field : fallback;
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

/** The ZeroMQ address of a socket. */
export function address(connection: Connection, socket: Channel | "hb"): string {
  const port = connection[`${socket}_port`];
  const separator = connection.transport === "ipc" ? "-" : ":";
  return `${connection.transport}://${connection.ip}${separator}${port}`;
}
