/** `node main.js <connection file>`: a kernel. */
import { rmSync } from "node:fs";
import { readConnection } from "./host/connection.ts";
import { launch } from "./host/launch.ts";

const [, , file] = process.argv;

// The folder of our connection file, where one was made for us: who made it may be gone when we end.
const { ANNEAL_KERNEL_FOLDER: made } = process.env;
delete process.env.ANNEAL_KERNEL_FOLDER;
if (made !== undefined) process.on("exit", () => rmSync(made, { recursive: true, force: true }));

async function main(): Promise<void> {
  if (file === undefined) throw new Error("usage: node main.js <connection file>");
  const connection = readConnection(file);
  const launched = launch();
  const { Kernel } = await import("./host/kernel.ts");
  const kernel = await Kernel.start(connection, launched);
  process.on("SIGINT", () => kernel.executor.interrupt());
  process.on("SIGTERM", () => void kernel.close());
  // Whoever started the kernel is gone without a word: nobody will ever end it.
  const parent = process.ppid;
  if (process.env.JPY_PARENT_PID !== undefined) {
    setInterval(() => {
      if (process.ppid !== parent) void kernel.close();
    }, 1000).unref();
  }
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : error}\n`);
  process.exit(1);
});
