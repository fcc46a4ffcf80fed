/** The child's end of the pipes to the host. */
import { writeSync } from "node:fs";
import { Socket } from "node:net";
import { encodeFrame, frameReader } from "../host/frames.ts";
import type { FromChild, ToChild } from "../host/protocol.ts";

/** File descriptors of the pipes. Each pipe has one direction, because writes block. */
export const toHostFd = 3;
export const fromHostFd = 4;
export const watcherFd = 5;
export const fromWatcherFd = 6;

let transport: (message: FromChild) => void = write;

/** Replaces the pipe that {@link send} uses, in threads that do not own it. */
export function setTransport(replacement: (message: FromChild) => void): void {
  transport = replacement;
}

/** Sends a message to the host. */
export function send(message: FromChild): void {
  transport(message);
}

/**
 * Writes synchronously, so that the output of a busy loop appears at once, and a loop that prints faster than the host
 * reads is slowed down.
 */
function write(message: FromChild): void {
  const frame = encodeFrame(message);
  let written = 0;
  while (written < frame.length) {
    try {
      written += writeSync(toHostFd, frame, written);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EAGAIN") continue;
      // The host has exited.
      killSelf();
    }
  }
}

/** Calls `receive` for every message of the host. */
export function listen(receive: (message: ToChild) => void): void {
  const socket = new Socket({ fd: fromHostFd, readable: true, writable: false });
  socket.on("data", frameReader(receive));
  socket.on("close", () => killSelf());
  socket.on("error", () => killSelf());
}

// SIGKILL skips exit handlers, whose output could not be sent.
function killSelf(): never {
  process.kill(process.pid, "SIGKILL");
  throw new Error("the host process has exited");
}
