/** The child's ends of the pipes to the host. */
import { writeSync } from "node:fs";
import { Socket } from "node:net";
import { encodeFrame, frameReader } from "../host/frames.ts";
import type { FromChild, ToChild } from "../host/protocol.ts";

/** File descriptors the host opens for the child. Each carries one direction, for reasons of blocking. */
export const toHostFd = 3;
export const fromHostFd = 4;
export const watcherFd = 5;
export const fromWatcherFd = 6;

let send: (message: FromChild) => void = write;

/** Has {@link tell} hand its messages to a function: in a thread that does not own the pipe. */
export function sendBy(other: (message: FromChild) => void): void {
  send = other;
}

/** Tells the host something. */
export function tell(message: FromChild): void {
  send(message);
}

/**
 * Writes at once: the pipe blocks, so what a busy loop prints is out before the loop goes on, and
 * one that prints faster than anyone reads has to wait.
 */
function write(message: FromChild): void {
  const frame = encodeFrame(message);
  let written = 0;
  while (written < frame.length) {
    try {
      written += writeSync(toHostFd, frame, written);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EAGAIN") continue;
      // The host is gone, and with it everyone who could want to know.
      endNow();
    }
  }
}

/** Calls `receive` for every message of the host. */
export function listen(receive: (message: ToChild) => void): void {
  const socket = new Socket({ fd: fromHostFd, readable: true, writable: false });
  socket.on("data", frameReader(receive));
  socket.on("close", () => endNow());
  socket.on("error", () => endNow());
}

// No exit handlers: what they print could not be told to anyone.
function endNow(): never {
  process.kill(process.pid, "SIGKILL");
  throw new Error("the host is gone");
}
