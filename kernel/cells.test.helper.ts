/** Helpers for tests: kernels in temporary notebook folders, and the outcomes of cells. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { stripVTControlCharacters } from "node:util";
import { afterAll, beforeAll, expect } from "vitest";
import { type ExecuteOptions, KernelClient } from "./client.ts";
import type { Message } from "./host/wire.ts";

/** The outcome of a cell. */
export interface CellOutcome {
  status: unknown;
  reply: Message;
  messages: Message[];
  stdout: string;
  stderr: string;
  /** The result as text, without colours. */
  result: string | undefined;
  ename: string;
  evalue: string;
  /** The traceback as text, without colours. */
  traceback: string;
}

const folders: string[] = [];
afterAll(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

/** Creates a folder with files. It is removed after the tests of the file. */
export function folderWith(files: Record<string, string>): string {
  const folder = mkdtempSync(join(tmpdir(), "anneal-notebook-"));
  folders.push(folder);
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
  return folder;
}

/** A kernel for tests. */
export class TestKernel {
  readonly client: KernelClient;
  readonly folder: string;
  readonly log: string[];

  private constructor(client: KernelClient, folder: string, log: string[]) {
    this.client = client;
    this.folder = folder;
    this.log = log;
  }

  static async start(files: Record<string, string> = {}, data?: string): Promise<TestKernel> {
    const folder = folderWith(files);
    const log: string[] = [];
    const client = await KernelClient.start({
      cwd: folder,
      notebookPath: join(folder, "notebook.ipynb"),
      data: data ?? join(folder, "data"),
      onLog: (line) => log.push(line),
    });
    return new TestKernel(client, folder, log);
  }

  /** Runs a cell, which may fail. */
  async run(code: string, options: ExecuteOptions = {}): Promise<CellOutcome> {
    const messages: Message[] = [];
    const reply = await this.client.execute(code, {
      ...options,
      onOutput(message) {
        messages.push(message);
        options.onOutput?.(message);
      },
    });
    return outcome(reply, messages);
  }

  /** Runs a cell that must succeed. */
  async ok(code: string, options: ExecuteOptions = {}): Promise<CellOutcome> {
    const done = await this.run(code, options);
    expect(done.traceback, `of ${code}`).toBe("");
    expect(done.status, `of ${code}`).toBe("ok");
    return done;
  }

  async close(): Promise<void> {
    await this.client.shutdown();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function outcome(reply: Message, messages: Message[]): CellOutcome {
  const of = (type: string) => messages.filter((message) => message.header.msg_type === type);
  const printed = (name: string) =>
    of("stream")
      .filter(({ content }) => content.name === name)
      .map(({ content }) => content.text)
      .join("");
  const [result] = of("execute_result");
  const [error] = of("error");
  const data = result?.content.data as Record<string, string> | undefined;
  return {
    status: reply.content.status,
    reply,
    messages,
    stdout: printed("stdout"),
    stderr: printed("stderr"),
    result: data && stripVTControlCharacters(data["text/plain"] ?? ""),
    ename: String(error?.content.ename ?? ""),
    evalue: String(error?.content.evalue ?? ""),
    traceback: stripVTControlCharacters(((error?.content.traceback as string[] | undefined) ?? []).join("\n")),
  };
}

/** Starts a kernel that all tests of a file share. */
export function sharedKernel(files: Record<string, string> = {}): { readonly current: TestKernel } {
  let kernel: TestKernel | undefined;
  beforeAll(async () => {
    kernel = await TestKernel.start(files);
  });
  afterAll(async () => {
    await kernel?.close();
  });
  return {
    get current() {
      if (!kernel) throw new Error("the kernel has not started");
      return kernel;
    },
  };
}

/** Waits until a condition holds. @throws Error when it does not hold within the time */
export async function until(condition: () => boolean | Promise<boolean>, withinMs = 5000): Promise<void> {
  const deadline = performance.now() + withinMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`${condition} did not hold within ${withinMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Whether a process is running. */
export function alive(pid: number): boolean {
  try {
    // Zombie processes are still listed.
    return !readFileSync(`/proc/${pid}/stat`, "utf8").includes(") Z ");
  } catch {
    return false;
  }
}
