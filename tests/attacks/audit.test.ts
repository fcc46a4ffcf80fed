// Attacks on the audit log: no change may be without an entry, and no entry may lie.
import { createConnection } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AttackedServer, type User } from "./server.ts";

interface Entry {
  who: string;
  action: string;
  target: string;
  status: number;
}

describe("the audit log", () => {
  let server: AttackedServer;
  let editor: User;

  beforeAll(async () => {
    server = await AttackedServer.start();
    editor = await server.user("eve", "editor");
  });
  afterAll(() => server.close());

  const entries = async (): Promise<Entry[]> =>
    (await server.owner.get("/api/anneal/audit", { max_results: "1000" })).body.entries as Entry[];
  const entriesOf = async (target: string) => (await entries()).filter((entry) => entry.target.includes(target));

  /** Values that an attacker may send in a field that the endpoint does not use. */
  const values: unknown[] = [
    { toString: 1 },
    { toString: null },
    { valueOf: 1, toString: {} },
    [[[]]],
    null,
    true,
    1e308,
    "\u0000",
    "x".repeat(1_000_000),
    { ["__proto__"]: { toString: 1 } },
  ];
  const fields = [
    "label",
    "user",
    "kind",
    "scope",
    "role",
    "target",
    "version",
    "toString",
    "__proto__",
    "constructor",
  ];

  test.each(fields)("an unused field '%s' suppresses no entry", async (field) => {
    for (const [index, value] of values.entries()) {
      const name = `unused ${field} ${index}`;
      const body = `{"name": ${JSON.stringify(name)}, ${JSON.stringify(field)}: ${JSON.stringify(value)}}`;
      const response = await editor.fetch("experiments/create", { method: "POST", body });
      const found = await entriesOf(`name=${name}`);
      const exists = (await editor.get("experiments/get-by-name", { experiment_name: name })).status === 200;
      expect({ field, value: String(JSON.stringify(value)).slice(0, 40), entries: found.length }).toEqual({
        field,
        value: String(JSON.stringify(value)).slice(0, 40),
        entries: exists ? 1 : found.length,
      });
      expect(response.status === 200).toBe(exists);
    }
  });

  test("a large body keeps its target", async () => {
    const tags = Array.from({ length: 100 }, (_, index) => ({ key: `t${index}`, value: "x".repeat(5000) }));
    await editor.must("POST", "experiments/create", { tags, name: "a large body" });
    expect(await entriesOf("name=a large body")).toMatchObject([{ who: "eve", status: 200 }]);
  });

  test("a long value leaves room for the others", async () => {
    const name = "n".repeat(499);
    await editor.must("POST", "registered-models/create", { name: "long" });
    const { status } = await editor.post("registered-models/set-tag", {
      name: "long",
      key: "k".repeat(200),
      value: "1",
    });
    expect(status).toBe(200);
    expect(await entriesOf(`key=${"k".repeat(200)}`)).toMatchObject([{ target: expect.stringContaining("name=long") }]);
    await editor.must("POST", "experiments/create", { name });
    expect(await entriesOf(`name=${"n".repeat(300)}`)).toHaveLength(1);
  });

  test("a client that hangs up leaves the entry of its change", async () => {
    const { hostname, port } = new URL(server.url);
    const names = Array.from({ length: 10 }, (_, n) => `hang up ${n}.`);
    for (const [n, name] of names.entries()) {
      const body = JSON.stringify({ name });
      const socket = createConnection({ host: hostname, port: Number(port) });
      socket.on("error", () => undefined);
      socket.write(
        `POST /api/2.0/mlflow/experiments/create HTTP/1.1\r\nhost: ${hostname}:${port}\r\nauthorization: Bearer ${editor.token}\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
      );
      setTimeout(() => socket.destroy(), n * 5);
    }
    await pause(1000);
    const changes: string[] = [];
    for (const name of names) {
      const { status } = await editor.get("experiments/get-by-name", { experiment_name: name });
      if (status === 200) changes.push(name);
      expect([name, (await entriesOf(`name=${name}`)).length]).toEqual([name, status === 200 ? 1 : 0]);
    }
    expect(changes.length).toBeGreaterThan(0);
  });

  test("refused and repeated changes are recorded once, with their status", async () => {
    const viewer = await server.user("vera", "viewer");
    expect((await viewer.post("experiments/create", { name: "refused" })).status).toBe(403);
    expect(await entriesOf("name=refused")).toMatchObject([{ who: "vera", status: 403 }]);
    await editor.must("POST", "experiments/create", { name: "twice" });
    expect((await editor.post("experiments/create", { name: "twice" })).status).toBe(400);
    expect((await entriesOf("name=twice")).map(({ status }) => status)).toEqual([400, 200]);
  });

  test("every endpoint that changes users, grants, tokens and webhooks is recorded with its target", async () => {
    const { owner } = server;
    const experiment = await owner.experiment("for grants");
    await owner.must("POST", "/api/anneal/users", { name: "ula", role: "viewer" });
    await owner.must("PUT", "/api/anneal/grants", {
      user: "ula",
      kind: "experiment",
      target: experiment,
      role: "editor",
    });
    const made = await owner.must("POST", "/api/anneal/tokens", { user: "ula", label: "laptop" });
    await owner.must("DELETE", `/api/anneal/tokens/${made.text("id")}`);
    await owner.must("PATCH", "/api/anneal/users/ula", { disabled: true });
    const actions = (await entriesOf("ula")).map(({ action }) => action);
    expect(actions).toEqual([
      "PATCH /api/anneal/users/ula",
      "POST /api/anneal/tokens",
      "PUT /api/anneal/grants",
      "POST /api/anneal/users",
    ]);
    expect((await entries()).some(({ action }) => action === `DELETE /api/anneal/tokens/${made.text("id")}`)).toBe(
      true,
    );
  });
});
