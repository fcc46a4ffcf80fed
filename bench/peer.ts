import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { type StepSpec, sizesOf } from "./step.ts";

export const python = process.env.PYTHON ?? "python3";

/** Returns the path of a peer's script in bench/peers. */
export function peerScript(name: string): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, "bench/peers", name))) folder = dirname(folder);
  return join(folder, "bench/peers", name);
}

/** Whether PyTorch and transformers (and PEFT) are installed; PYTHON and PYTHONPATH select the installation. */
export function hasPeer(method: StepSpec["method"]): boolean {
  const packages = ["torch", "transformers", ...(method === "lora" ? ["peft"] : [])];
  try {
    execFileSync(python, ["-c", `import ${packages.join(", ")}`], { stdio: "ignore", timeout: 120_000 });
    return true;
  } catch {
    return false;
  }
}

/** A training step of another library in a separate process, run one step at a time. */
export class Peer {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  private constructor(child: ChildProcess) {
    this.#child = child;
    this.#lines = createInterface({ input: child.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]();
  }

  /** Starts PyTorch. */
  static async start(spec: StepSpec, device: "cpu" | "cuda", precision: string, threads: number): Promise<Peer> {
    const args = [peerScript("train_step.py"), spec.method, ...sizesOf(spec).map(String), device, precision];
    return Peer.run(python, args, { THREADS: String(threads) });
  }

  /** Starts any program with the protocol of bench/peers/train_step.py. */
  static async run(command: string, args: readonly string[], env: Record<string, string> = {}): Promise<Peer> {
    const child = spawn(command, args, { stdio: ["pipe", "pipe", "ignore"], env: { ...process.env, ...env } });
    const peer = new Peer(child);
    await peer.#answer();
    return peer;
  }

  /** Runs one step. @returns its duration in seconds */
  async step(): Promise<number> {
    this.#child.stdin?.write("step\n");
    return (await this.#answer()).seconds as number;
  }

  /** Ends the peer. @returns its peak memory in bytes: the process's, or the GPU's */
  async end(): Promise<number> {
    this.#child.stdin?.end();
    return (await this.#answer()).memory as number;
  }

  async #answer(): Promise<Record<string, unknown>> {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error("The peer exited unexpectedly: run its script in bench/peers to see why.");
    return JSON.parse(value) as Record<string, unknown>;
  }
}
