/** Entry point: `node main.js <connection file>` starts a kernel. */
import { rmSync } from "node:fs";
import { readConnection } from "./connection.ts";
import { launch } from "./launch.ts";

const [, , file] = process.argv;

// The client's temporary folder with the connection file. Removed here too, because the client may exit before the kernel.
const { ANNEAL_KERNEL_FOLDER: temporaryFolder } = process.env;
delete process.env.ANNEAL_KERNEL_FOLDER;
if (temporaryFolder !== undefined) process.on("exit", () => rmSync(temporaryFolder, { recursive: true, force: true }));

async function main(): Promise<void> {
  if (file === undefined) throw new Error("usage: node main.js <connection file>");
  const connection = readConnection(file);
  const launching = launch();
  const { Kernel } = await import("./kernel.ts");
  const launched = await launching;
  const kernel = await Kernel.start(connection, launched);
  process.on("SIGINT", () => kernel.executor.interrupt());
  process.on("SIGTERM", () => void kernel.close());
  // Exit if the parent process has exited without shutting the kernel down.
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
