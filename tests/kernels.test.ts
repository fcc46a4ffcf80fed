// The studio's kernels from the view of a page: execution, restarts, shutdown.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { cleanUp, descendants, isAlive, Server, scratch, until } from "./support.ts";

afterAll(cleanUp);

describe("kernels", () => {
  const root = scratch("kernels");
  let studio: Server;
  beforeAll(async () => {
    mkdirSync(join(root, "books"), { recursive: true });
    studio = await Server.start("start", scratch("kernels-data"), ["--root", root]);
  });

  interface KernelModel {
    id: string;
    execution_state: string;
  }
  interface Frame {
    channel: string;
    header: { msg_type: string };
    parent_header: { msg_id?: string };
    content: Record<string, unknown>;
  }

  /** A page's connection to a kernel. */
  async function connect(id: string) {
    const address = `${studio.url.replace("http", "ws")}/api/kernels/${id}/channels?session_id=test`;
    const socket = new WebSocket(address, { headers: { authorization: `Bearer ${studio.token}` } });
    const frames: Frame[] = [];
    socket.on("message", (data) => frames.push(JSON.parse(data.toString()) as Frame));
    await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
    let count = 0;
    return {
      frames,
      /** Executes a cell. Returns the reply and the output. */
      run(code: string) {
        const msg_id = `cell-${count++}`;
        const header = { msg_id, msg_type: "execute_request", session: "test", username: "", version: "5.4", date: "" };
        const content = { code, silent: false, store_history: false, user_expressions: {}, allow_stdin: false };
        socket.send(
          JSON.stringify({ channel: "shell", header, parent_header: {}, metadata: {}, content, buffers: [] }),
        );
        const mine = () => frames.filter(({ parent_header }) => parent_header.msg_id === msg_id);
        const printed = () =>
          mine()
            .filter(({ header }) => header.msg_type === "stream")
            .map(({ content }) => content.text)
            .join("");
        const reply = () =>
          until("the cell is done", 30, () => {
            const idle = mine().some(({ content }) => content.execution_state === "idle");
            return idle && mine().find(({ header }) => header.msg_type === "execute_reply")?.content;
          });
        return { printed, reply };
      },
      /** Breaks the connection. */
      close: () => socket.terminate(),
      /** Closes the page. */
      leave: () => socket.close(),
    };
  }

  const begin = () => studio.ask<KernelModel>("POST", "/api/kernels", { path: "books/one.ipynb" });

  test("run cells in the notebook's folder; an interrupt stops one and keeps its state", async () => {
    const { id } = await begin();
    const page = await connect(id);
    const first = page.run("let count = 1; console.log(process.cwd())");
    expect((await first.reply()).status).toBe("ok");
    expect(first.printed().trim()).toBe(join(root, "books"));
    const endless = page.run('console.log("going"); for (;;) count++;');
    await until("it goes", 20, () => endless.printed().includes("going"));
    expect((await studio.fetch(`/api/kernels/${id}/interrupt`, { method: "POST" })).status).toBe(204);
    expect((await endless.reply()).status).toBe("error");
    const after = page.run("console.log(count > 1)");
    await after.reply();
    expect(after.printed().trim()).toBe("true");
    page.close();
    expect((await studio.fetch(`/api/kernels/${id}`, { method: "DELETE" })).status).toBe(204);
    expect((await studio.fetch(`/api/kernels/${id}`)).status).toBe(404);
  });

  test("keep their id and their pages when restarted", async () => {
    const { id } = await begin();
    const page = await connect(id);
    await page.run("const gone = 1").reply();
    expect(await studio.ask<KernelModel>("POST", `/api/kernels/${id}/restart`)).toMatchObject({ id });
    const after = page.run("console.log(typeof (globalThis as { gone?: number }).gone)");
    expect((await after.reply()).status).toBe("ok");
    expect(after.printed().trim()).toBe("undefined");
    expect((await page.run("gone").reply()).status).toBe("error");
    page.close();
    await studio.fetch(`/api/kernels/${id}`, { method: "DELETE" });
  });

  test("can be restarted during an endless cell", async () => {
    const { id } = await begin();
    const page = await connect(id);
    const endless = page.run('console.log("going"); for (;;);');
    await until("it goes", 20, () => endless.printed().includes("going"));
    await studio.ask("POST", `/api/kernels/${id}/restart`);
    expect((await page.run("1").reply()).status).toBe("ok");
    page.close();
    await studio.fetch(`/api/kernels/${id}`, { method: "DELETE" });
  });

  const restart = (id: string) => studio.fetch(`/api/kernels/${id}/restart`, { method: "POST" });
  const interrupt = (id: string) => studio.fetch(`/api/kernels/${id}/interrupt`, { method: "POST" });
  type Page = Awaited<ReturnType<typeof connect>>;
  /** The restarting, autorestarting and dead states that a page received. */
  const lifecycleStates = ({ frames }: Page) =>
    frames
      .map(({ content }) => String(content.execution_state))
      .filter((state) => ["restarting", "autorestarting", "dead"].includes(state));
  const works = async (page: Page) => {
    const cell = page.run("console.log(40 + 2)");
    expect((await cell.reply()).status).toBe("ok");
    expect(cell.printed()).toBe("42\n");
  };
  const endless = async (page: Page) => {
    const cell = page.run('console.log("going"); for (;;);');
    await until("it goes", 20, () => cell.printed().includes("going"));
    return cell;
  };
  /** The process id of the kernel's host, from the user's code. */
  const hostOf = async (page: Page) => {
    const cell = page.run("console.log(process.ppid)");
    await cell.reply();
    return Number(cell.printed());
  };
  const killHost = async (page: Page) => process.kill(await hostOf(page), "SIGKILL");

  describe("restarted by a user", () => {
    let id: string;
    let page: Page;
    beforeAll(async () => {
      ({ id } = await begin());
      page = await connect(id);
    });

    test("do not report a crash, whether idle or busy, once or several times concurrently", async () => {
      for (const times of [1, 3]) {
        const answers = await Promise.all(Array.from({ length: times }, () => restart(id)));
        expect(answers.map(({ status }) => status)).toEqual(Array(times).fill(200));
        await works(page);
        await endless(page);
        expect((await restart(id)).status).toBe(200);
        await works(page);
      }
      expect(lifecycleStates(page)).toEqual([]);
    });

    test("end the cells that other pages wait for", async () => {
      const running = await endless(page);
      const waiting = page.run("1");
      await restart(id);
      expect((await running.reply()).status).toBe("aborted");
      expect((await waiting.reply()).status).toBe("aborted");
      expect(lifecycleStates(page)).toEqual([]);
    });

    test("are one process after two restarts in a row", async () => {
      const [before] = [await hostOf(page), await restart(id)];
      await restart(id);
      await works(page);
      expect(isAlive(before)).toBe(false);
      expect(descendants(studio.command.child.pid ?? 0).filter(isAlive).length).toBeLessThanOrEqual(3);
    });

    test("accept an interrupt and a cell while they restart", async () => {
      const restarted = restart(id);
      expect((await interrupt(id)).status).toBe(204);
      await works(page);
      expect((await restarted).status).toBe(200);
      expect(lifecycleStates(page)).toEqual([]);
    });

    test("restart even when they hang", async () => {
      process.kill(await hostOf(page), "SIGSTOP");
      expect((await restart(id)).status).toBe(200);
      await works(page);
      expect(lifecycleStates(page)).toEqual([]);
    });

    test("end if they are shut down meanwhile", async () => {
      const restarted = restart(id);
      expect((await studio.fetch(`/api/kernels/${id}`, { method: "DELETE" })).status).toBe(204);
      expect([200, 404]).toContain((await restarted).status);
      await until("no process is left", 5, () => !descendants(studio.command.child.pid ?? 0).some(isAlive));
      expect((await restart(id)).status).toBe(404);
      expect(lifecycleStates(page)).toEqual(["dead"]);
      page.leave();
    });
  });

  describe("whose process is killed", () => {
    let id: string;
    let page: Page;
    beforeAll(async () => {
      ({ id } = await begin());
      page = await connect(id);
    });

    test("report it, abort their cells, and restart automatically", async () => {
      const host = await hostOf(page);
      const children = descendants(studio.command.child.pid ?? 0);
      const running = await endless(page);
      const waiting = page.run("1");
      await until("it has been sent", 5, () => page.frames.length > 0);
      process.kill(host, "SIGKILL");
      expect(await running.reply()).toMatchObject({
        status: "error",
        ename: "KernelDied",
        evalue: expect.stringContaining("signal SIGKILL"),
      });
      expect((await waiting.reply()).status).toBe("aborted");
      expect(page.frames.filter(({ header }) => header.msg_type === "error").length).toBe(1);
      await works(page);
      expect(lifecycleStates(page)).toEqual(["restarting"]);
      await until("its processes are gone", 10, () => !children.some(isAlive));
    });

    test("can also be restarted by the user immediately", async () => {
      page.frames.length = 0;
      await killHost(page);
      expect((await restart(id)).status).toBe(200);
      await works(page);
      expect(lifecycleStates(page).filter((state) => state !== "restarting")).toEqual([]);
    });

    test("are restarted when the new process is killed during startup", async () => {
      const restarted = restart(id);
      const old = new Set(descendants(studio.command.child.pid ?? 0));
      for (let time = 1; time <= 2; time++) {
        const find = () => descendants(studio.command.child.pid ?? 0).find((pid) => !old.has(pid) && isAlive(pid));
        const starting = await until("a process starts", 10, find, 5);
        old.add(starting);
        process.kill(starting, "SIGKILL");
      }
      expect((await restarted).status).toBe(200);
      await works(page);
    });

    test("are dead after five crashes in a row, and work again when restarted", async () => {
      await restart(id);
      page.frames.length = 0;
      for (let time = 1; time <= 6; time++) {
        const cell = page.run('process.kill(process.ppid, "SIGKILL")');
        expect(await cell.reply()).toMatchObject({ status: "error", ename: "KernelDied" });
      }
      expect(lifecycleStates(page)).toEqual([...Array(5).fill("restarting"), "dead"]);
      expect((await interrupt(id)).status).toBe(409);
      expect(await studio.ask<KernelModel[]>("GET", "/api/kernels")).toEqual([]);
      expect((await restart(id)).status).toBe(200);
      await works(page);
      page.leave();
      await studio.fetch(`/api/kernels/${id}`, { method: "DELETE" });
    });
  });

  test("resend messages that a page missed while its connection was broken", async () => {
    const { id } = await begin();
    const page = await connect(id);
    page.run("await new Promise((done) => setTimeout(done, 300)); console.log('while you were away')");
    await until("it runs", 5, () => page.frames.some(({ content }) => content.execution_state === "busy"));
    page.close();
    await until("it is idle", 5, async () => {
      const { execution_state } = await studio.ask<KernelModel>("GET", `/api/kernels/${id}`);
      return execution_state === "idle";
    });
    const back = await connect(id);
    await until("it is said", 5, () => back.frames.some(({ content }) => content.text === "while you were away\n"));
    expect(back.frames.some(({ header }) => header.msg_type === "execute_reply")).toBe(true);
    // Nothing is kept for a closed page.
    back.leave();
    await until("nobody is connected", 5, async () => {
      const { connections, kernels } = await studio.ask<{ connections: number; kernels: number }>("GET", "/api/status");
      return connections === 0 && kernels >= 1;
    });
    const other = await connect(id);
    expect((await other.run("1").reply()).status).toBe("ok");
    expect(other.frames.some(({ content }) => content.text === "while you were away\n")).toBe(false);
    other.leave();
    await studio.fetch(`/api/kernels/${id}`, { method: "DELETE" });
  });

  test("share a session by notebook, which can be renamed and ended", async () => {
    interface Session {
      id: string;
      path: string;
      kernel: KernelModel;
    }
    const body = { path: "books/one.ipynb", type: "notebook", name: "", kernel: { name: "anneal" } };
    const one = await studio.ask<Session>("POST", "/api/sessions", body);
    expect((await studio.ask<Session>("POST", "/api/sessions", body)).id).toBe(one.id);
    await studio.ask("PATCH", `/api/sessions/${one.id}`, { path: "books/two.ipynb" });
    expect(await studio.ask<Session[]>("GET", "/api/sessions")).toMatchObject([
      { id: one.id, path: "books/two.ipynb" },
    ]);
    expect((await studio.fetch(`/api/sessions/${one.id}`, { method: "DELETE" })).status).toBe(204);
    expect((await studio.fetch(`/api/kernels/${one.kernel.id}`)).status).toBe(404);
  });

  test("that do not exist cause a clear error", async () => {
    for (const [method, path] of [
      ["GET", "/api/kernels/none"],
      ["POST", "/api/kernels/none/interrupt"],
      ["POST", "/api/kernels/none/restart"],
      ["DELETE", "/api/kernels/none"],
      ["GET", "/api/sessions/none"],
    ]) {
      const answer = await studio.fetch(path, { method });
      expect(answer.status).toBe(404);
      expect(await answer.json()).toMatchObject({
        message: expect.stringMatching(/^There is no (kernel|session) none/),
      });
    }
  });

  test("end with the studio, whether it is stopped or killed", async () => {
    for (const signal of ["SIGTERM", "SIGINT", "SIGKILL"] as const) {
      const own = await Server.start("start", scratch("stop"), ["--root", root]);
      await own.ask<KernelModel>("POST", "/api/kernels", { path: "books/one.ipynb" });
      await own.ask<KernelModel>("POST", "/api/kernels", {});
      const { pid } = own.command.child;
      const below = descendants(pid ?? 0);
      expect(below.length).toBeGreaterThanOrEqual(4);
      expect(await own.command.kill(signal)).toBe(signal === "SIGKILL" ? null : 0);
      await until(`no process is left after ${signal}`, 15, () => !below.some(isAlive));
    }
    expect(studio.command.child.exitCode).toBeNull();
  });
});
