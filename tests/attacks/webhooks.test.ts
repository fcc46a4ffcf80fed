// Attacks through webhooks: reading their secrets, and making the tracker reach what only it can reach.
import { once } from "node:events";
import { chmodSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import Libsql from "libsql";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { AttackedServer } from "./server.ts";

const event = { events: ["MODEL_VERSION.CREATED"] };

describe("webhook addresses", () => {
  let server: AttackedServer;
  beforeAll(async () => {
    server = await AttackedServer.start();
  });
  afterAll(() => server.close());

  test.each([
    "http://127.0.0.1:9/",
    "http://127.1:9/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0177.0.0.1/",
    "http://0.0.0.0/",
    "http://localhost:9/",
    "http://LOCALHOST./",
    "http://a.localhost/",
    "http://[::1]/",
    "http://[::]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:a00:1]/",
    "http://[0:0:0:0:0:ffff:7f00:1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[2002:7f00:1::]/",
    "http://10.1.2.3/",
    "http://172.31.255.255/",
    "http://192.168.0.1/",
    "http://100.64.0.1/",
    "http://[fd12::1]/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[fe80::1]/",
    "http://user@example.com/",
    "http://user:password@example.com/",
    "http://:password@example.com/",
    "ftp://example.com/",
    "file:///etc/passwd",
    "//example.com",
    "javascript:alert(1)",
  ])("%s is refused", async (url) => {
    const created = await server.owner.post("webhooks", { name: "w", url, ...event });
    expect({ status: created.status, message: created.body.message }).toMatchObject({
      status: 400,
      message: expect.stringContaining("Invalid webhook URL"),
    });
    const made = await server.owner.must("POST", "webhooks", { name: "w", url: "https://example.com/", ...event });
    const changed = await server.owner.send("PATCH", `webhooks/${made.text("webhook.id")}`, { url });
    expect(changed.status).toBe(400);
  });

  test("a name that leads to this machine is refused when it is called", async () => {
    // The machine's own name resolves to one of its addresses.
    const { hostname } = await import("node:os");
    const url = `http://${hostname()}:9/`;
    const made = await server.owner.must("POST", "webhooks", { name: "w", url, ...event });
    const { body } = await server.owner.must("POST", `webhooks/${made.text("webhook.id")}/test`);
    expect(body.result).toMatchObject({ success: false });
    expect((body.result as { error_message: string }).error_message).toMatch(/private network|ENOTFOUND|EAI_AGAIN/);
  });

  test("link-local addresses are refused also where private ones are allowed", async () => {
    const open = await AttackedServer.start({ allowPrivateWebhooks: true });
    const refused = await open.owner.post("webhooks", { name: "w", url: "http://169.254.169.254/", ...event });
    expect(refused.status).toBe(400);
    expect((await open.owner.post("webhooks", { name: "w", url: "http://10.0.0.1/", ...event })).status).toBe(200);
    await open.close();
  });

  test("only admins create, see and test webhooks", async () => {
    const made = await server.owner.must("POST", "webhooks", { name: "w", url: "https://example.com/", ...event });
    const id = made.text("webhook.id");
    for (const role of ["viewer", "editor"] as const) {
      const user = await server.user(`a-${role}`, role);
      for (const [method, path] of [
        ["POST", "webhooks"],
        ["GET", "webhooks"],
        ["GET", `webhooks/${id}`],
        ["PATCH", `webhooks/${id}`],
        ["POST", `webhooks/${id}/test`],
        ["DELETE", `webhooks/${id}`],
      ] as const) {
        const body = method === "GET" ? undefined : { name: "x", url: "https://example.com/", ...event };
        expect([role, method, path, (await user.send(method, path, body)).status]).toEqual([role, method, path, 403]);
      }
    }
  });
});

describe("webhook answers", () => {
  let server: AttackedServer;
  let receiver: Server;
  let sent = 0;
  beforeAll(async () => {
    server = await AttackedServer.start({ allowPrivateWebhooks: true });
    receiver = createServer((request, response) => {
      if (request.url === "/redirect") {
        response.writeHead(302, { location: "/endless" }).end();
        return;
      }
      // An answer without an end.
      const piece = Buffer.alloc(65_536, "x");
      const more = (): void => {
        while (!response.destroyed && response.write(piece)) sent += piece.length;
      };
      response.on("drain", more);
      more();
    }).listen(0, "127.0.0.1");
    await once(receiver, "listening");
  });
  afterAll(async () => {
    receiver.closeAllConnections();
    receiver.close();
    await server.close();
  });
  const call = async (path: string) => {
    const url = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}${path}`;
    const made = await server.owner.must("POST", "webhooks", { name: "w", url, ...event });
    return (await server.owner.must("POST", `webhooks/${made.text("webhook.id")}/test`)).body.result as Record<
      string,
      unknown
    >;
  };

  test("are read up to a bound", async () => {
    const result = await call("/endless");
    expect(result).toMatchObject({ success: true, response_status: 200, response_body: "x".repeat(1000) });
    expect(sent).toBeLessThan(20_000_000);
  });

  test("are not followed elsewhere", async () => {
    expect(await call("/redirect")).toMatchObject({ success: false, response_status: 302 });
  });
});

// On PostgreSQL there is no file.
describe.skipIf(inject("postgresql") !== undefined)("secrets at rest", () => {
  test("are in no file as plain text, and other users of the machine cannot read the database", async () => {
    const server = await AttackedServer.start();
    const { owner, dataDir } = server;
    const secret = "a-very-secret-secret";
    const made = await owner.must("POST", "webhooks", { name: "w", url: "https://example.com/", secret, ...event });
    const id = made.text("webhook.id");
    expect(JSON.stringify((await owner.get("webhooks")).body)).not.toContain(secret);
    // One that an earlier version stored.
    await server.restart({}, () => {
      const database = new Libsql(join(dataDir, "tracker.db"));
      database.prepare("UPDATE webhooks SET secret = ? WHERE id = ?").run("an-older-secret", id);
      database.pragma("wal_checkpoint(TRUNCATE)");
      database.close();
      chmodSync(join(dataDir, "tracker.db"), 0o644);
    });
    for (const file of readdirSync(dataDir).filter((name) => statSync(join(dataDir, name)).isFile())) {
      expect([file, (statSync(join(dataDir, file)).mode & 0o077).toString(8)]).toEqual([file, "0"]);
    }
    const database = new Libsql(join(dataDir, "tracker.db"), { readonly: true });
    const { secret: stored } = database.prepare("SELECT secret FROM webhooks WHERE id = ?").get(id) as {
      secret: string;
    };
    database.close();
    expect(stored).toMatch(/^sealed:1:/);
    expect(stored).not.toContain("an-older-secret");

    // With another key nothing is signed, and the result says why.
    await server.restart({}, () => writeFileSync(join(dataDir, "secrets.key"), "another key of the same length....."));
    const { body } = await owner.must("POST", `webhooks/${id}/test`);
    expect(body.result).toMatchObject({
      success: false,
      error_message: expect.stringContaining("set the secret again"),
    });
    expect(readFileSync(join(dataDir, "secrets.key"), "utf8")).toContain("another key");
    await server.close();
  });
});
