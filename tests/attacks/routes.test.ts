// Every declared endpoint, called by those who may not: nothing that they may not see is in an answer, nothing of it
// changes, and no request makes the server fail. A new endpoint is covered by its declaration; if its fields refer to
// something new, walk.ts has to know how.
import { join } from "node:path";
import Libsql from "libsql";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { rolesOf } from "../../tracker/api/endpoints/endpoint.ts";
import { AttackedServer, sha256, User } from "./server.ts";
import {
  belongsTo,
  changes,
  dumpOf,
  isStream,
  makeThings,
  messageOf,
  NOTHING,
  placesOf,
  type Route,
  referencesOf,
  replaced,
  requestOf,
  routes,
  type Things,
} from "./walk.ts";

/** In everything that the attackers may not see. */
const CONTENT = "hidden-4f1c";
const VALUE = 0.731058578630005;

vi.setConfig({ testTimeout: 240_000 });

let server: AttackedServer;
/** In an experiment and a model that the attackers may not see. */
let secret: Things;
/** Of the attacker `member`. */
let own: Things;
/** Editors and admins of their own experiment and model, who see nothing else. */
let member: User;
/** Sees everything but the secret experiment and model. */
let viewer: User;
/** An admin's token of scope read. */
let reader: User;
let refused: User[];
let ids: string[];

beforeAll(async () => {
  server = await AttackedServer.start({ allowPrivateWebhooks: true, trustedProxies: ["127.0.0.1"] });
  const { owner } = server;
  secret = await makeThings(server, { name: "known", content: CONTENT, value: VALUE });
  own = await makeThings(server, { name: "own", content: "own", value: 0.25 });
  await server.user("boss", "admin");
  await owner.must("PUT", "/api/anneal/grants", { user: "boss", kind: "model", target: secret.model, role: "editor" });
  await owner.must("POST", "webhooks", {
    name: CONTENT,
    url: `http://127.0.0.1:9/${CONTENT}`,
    events: ["MODEL_VERSION.CREATED"],
    status: "DISABLED",
    secret: CONTENT,
  });
  member = await server.user("member", "none");
  await server.grant(member, "experiment", own.experiment, "admin");
  member = await server.grant(member, "model", own.model, "admin");
  viewer = await server.user("viewer", "viewer");
  await server.grant(viewer, "experiment", secret.experiment, "none");
  viewer = await server.grant(viewer, "model", secret.model, "none");

  const tokenOf = async (name: string, fields: object): Promise<{ user: User; id: string }> => {
    await owner.must("POST", "/api/anneal/users", { name, role: "admin" });
    const made = await owner.must("POST", "/api/anneal/tokens", {
      user: name,
      label: CONTENT,
      scope: "admin",
      ...fields,
    });
    return { user: new User(server.url, name, made.text("token")), id: made.text("id") };
  };
  reader = (await tokenOf("reader", { scope: "read" })).user;
  const disabled = await tokenOf("disabled", {});
  await owner.must("PATCH", "/api/anneal/users/disabled", { disabled: true });
  const revoked = await tokenOf("revoked", {});
  await owner.must("DELETE", `/api/anneal/tokens/${revoked.id}`);
  const deleted = await tokenOf("deleted", {});
  await owner.must("DELETE", "/api/anneal/users/deleted");
  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() - 48 * 3600 * 1000 });
  const expired = await tokenOf("expired", { expires_in_days: 1 });
  vi.useRealTimers();
  refused = [
    new User(server.url, "nobody", ""),
    new User(server.url, "a wrong token", "anneal_wrong"),
    ...[disabled, revoked, deleted, expired].map(({ user }) => user),
  ];
  ids = [
    secret.experimentName,
    secret.run,
    secret.loggedModel,
    secret.model,
    secret.trace,
    secret.assessment,
    secret.upload,
    secret.dataset,
  ];
});
afterAll(() => server.close());

interface Said {
  status: number;
  text: string;
}

let client = 0;
async function send(user: User, route: Route, message: Record<string, unknown>, experiment?: string): Promise<Said> {
  const { address, options } = requestOf(route, message);
  let { body } = options;
  const headers: Record<string, string> = {
    ...(options.headers as Record<string, string>),
    ...(user.token === "" ? {} : { authorization: `Bearer ${user.token}` }),
    // Otherwise, wrong tokens of one client would soon be answered with 429.
    "x-forwarded-for": `10.0.${client >> 8}.${client++ & 255}`,
  };
  if (route.path === "/v1/traces") {
    const traceId = secret.trace.slice(3);
    const span = { traceId, spanId: "00f067aa0ba902b1", name: "x", startTimeUnixNano: "1", endTimeUnixNano: "2" };
    body = JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans: [span] }] }] });
    headers["content-type"] = "application/json";
    headers["x-mlflow-experiment-id"] = experiment ?? secret.experiment;
  }
  client %= 65_000;
  const response = await fetch(server.url + address, { ...options, ...(body ? { body } : {}), headers });
  const text = await response.text().catch(() => "broken off");
  return { status: response.status, text: [...response.headers].flat().join("\n") + text };
}

const hasSecret = (text: string): boolean => [CONTENT, String(VALUE)].some((it) => text.includes(it));
/** Names and ids that the answer tells without having been asked for them. */
const told = ({ text }: Said, route: Route, message: object): string[] => {
  const asked = JSON.stringify([message, requestOf(route, message as Record<string, unknown>)]);
  return ids.filter((id) => text.includes(id) && !asked.includes(id));
};
/** What is wrong with answers, to see it of all endpoints at once. */
class Found {
  readonly problems: string[] = [];

  add(user: User, { name }: Route, { status, text }: Said, wrong: Record<string, boolean>): void {
    for (const [what, is] of Object.entries(wrong)) {
      if (is)
        this.problems.push(`${user.name}: ${name} ${what}: ${status} ${text.replace(/^[^{]*/, "").slice(0, 300)}`);
    }
  }
}

const all = (things: Things) => () => things;

/** Does some work for each, several at a time. */
async function each<T>(list: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const rest = list.values();
  await Promise.all(
    Array.from({ length: 6 }, async () => {
      for (const item of rest) await work(item);
    }),
  );
}

describe("each endpoint, about what the user may not see or change", () => {
  test("refuses nobody, wrong tokens, and those that were disabled, revoked, deleted or have expired", async () => {
    const before = dumpOf(server);
    for (const user of refused) {
      await each(routes, async (route) => {
        if (route.endpoint.right === "public") return;
        const said = await send(user, route, messageOf(route, all(secret)));
        const status = route.endpoint.right === "signature" ? 403 : 401;
        const shown = [said.status, hasSecret(said.text), told(said, route, messageOf(route, all(secret)))];
        expect([user.name, route.name, ...shown]).toEqual([user.name, route.name, status, false, []]);
      });
      expect([user.name, changes(before, dumpOf(server))]).toEqual([user.name, []]);
    }
  });

  test("refuses a member of another experiment, and a viewer, and leaves it out of lists", async () => {
    const before = dumpOf(server);
    const found = new Found();
    for (const user of [member, viewer]) {
      for (const route of routes) {
        if (isStream(route)) continue;
        const { right } = route.endpoint;
        const message = messageOf(route, all(secret));
        const said = await send(user, route, message);
        const account = rolesOf(route.endpoint).some(({ of }) => of === "account");
        // Of another's token, it is not told whether it exists.
        const expected =
          right === "signature" ? [403] : typeof right === "string" ? [200] : account ? [403, 404] : [403];
        found.add(user, route, said, {
          "another status than expected": !expected.includes(said.status),
          "tells a secret": hasSecret(said.text) || told(said, route, message).length > 0,
          "changes something": changes(before, dumpOf(server)).length > 0,
        });
      }
    }
    expect(found.problems).toEqual([]);
  });

  test("lets a token of scope read change nothing, even an admin's, and see nothing that is an admin's", async () => {
    const before = dumpOf(server);
    const found = new Found();
    for (const route of routes) {
      if (isStream(route)) continue;
      const message = messageOf(route, all(secret));
      const said = await send(reader, route, message);
      const changing = rolesOf(route.endpoint).some(({ role }) => role !== "viewer");
      found.add(reader, route, said, {
        "another status than expected": changing ? said.status !== 403 : said.status >= 500,
        "tells a secret": /users|tokens|grants|webhooks|audit/.test(route.path) && hasSecret(said.text),
        "changes something": changes(before, dumpOf(server)).length > 0,
      });
    }
    expect(found.problems).toEqual([]);
  });

  test("says the same of experiments and models that exist and that do not, to those who see only what was granted", async () => {
    for (const route of routes) {
      if (isStream(route) || typeof route.endpoint.right === "string") continue;
      const fields = referencesOf(route);
      const promised = ["experiment_id", "experiment_ids", "name", "target", "*", "path"];
      if (fields.length === 0 || !fields.every((field) => promised.includes(field))) continue;
      const missing = { ...NOTHING, experiment: "999999", experimentName: "n", model: "n-model" };
      const say = async (things: Things): Promise<unknown[]> => {
        const { status, text } = await send(member, route, messageOf(route, all(things)), things.experiment);
        const message = /"message":"(.*?)"[,}]/.exec(text)?.[1];
        return [route.name, status, message?.replaceAll(things.model, "MODEL").replaceAll(things.experiment, "ID")];
      };
      expect(await say(secret)).toEqual(await say(missing));
    }
  });
});

describe("what is the attacker's own, mixed with what is not", () => {
  /** Deletes last: what they delete is needed before. */
  const inOrder = routes
    .filter((route) => !isStream(route))
    .sort((a, b) => Number(/DELETE|delete|rename/.test(a.name)) - Number(/DELETE|delete|rename/.test(b.name)));

  /** Sends requests of the member's, and checks that they neither tell nor change anything of the secret things. */
  async function attack(requestsOf: (route: Route) => Record<string, unknown>[]): Promise<void> {
    const found = new Found();
    for (const route of inOrder) {
      const before = dumpOf(server);
      const requests = requestsOf(route);
      await each(requests, async (message) => {
        const said = await send(member, route, message, own.experiment);
        found.add(member, route, said, {
          [`fails for ${JSON.stringify(message).slice(0, 400)}`]: said.status >= 500,
          [`tells a secret for ${JSON.stringify(message).slice(0, 400)}`]: hasSecret(said.text),
        });
      });
      const changed = changes(before, dumpOf(server)).filter((it) => belongsTo(secret, it));
      if (changed.length > 0) found.problems.push(`${route.name} changes ${JSON.stringify(changed)}`);
    }
    expect(found.problems).toEqual([]);
  }

  test("one reference of a request is to a secret thing, the others are not", async () => {
    await attack((route) =>
      referencesOf(route).map((field) => messageOf(route, (place) => (place === field ? secret : own))),
    );
  });

  test("any field has any way to name a secret thing", async () => {
    const names = [
      ...ids,
      secret.experiment,
      `runs:/${secret.run}/model`,
      `models:/${secret.model}/1`,
      `models:/${secret.model}@best`,
      `models:/${secret.loggedModel}`,
      `mlflow-artifacts:/${secret.experiment}/${secret.run}/artifacts/model`,
      `${secret.experiment}/${secret.run}/artifacts/model/weights`,
      `../../../${secret.experiment}/${secret.run}/artifacts/model/weights`,
      sha256(CONTENT),
      [secret.run, own.run],
      `experiment_id = '${secret.experiment}' OR name LIKE '%'`,
    ];
    // Deleting is in the other tests: here, it would leave nothing to mix.
    const kept = (route: Route) => !/DELETE|delete|rename|abort/.test(route.name);
    await attack((route) => {
      if (!kept(route)) return [];
      const message = messageOf(route, all(own));
      const others = Object.keys(route.endpoint.request.properties).filter((field) => !(field in message));
      return [...placesOf(message), ...others].flatMap((place) => names.map((name) => replaced(message, place, name)));
    });
  });

  test("any field is nonsense", async () => {
    const nested = JSON.parse(`${"[".repeat(60)}${"]".repeat(60)}`) as unknown;
    const values = [
      null,
      {},
      [[]],
      -1,
      1e308,
      "NaN",
      "\0",
      "\ud800",
      "__proto__",
      JSON.parse('{"__proto__":{"key":"x"},"constructor":1}'),
      "../../../../etc/passwd",
      "9223372036854775808",
      "x".repeat(20_000),
      nested,
      "' OR '1'='1",
    ];
    await attack((route) => {
      const message = messageOf(route, all(own));
      const others = Object.keys(route.endpoint.request.properties).filter((field) => !(field in message));
      return [...placesOf(message), ...others].flatMap((place) =>
        values
          .filter((value) => requestOf(route, replaced(message, place, value)).address.length < 12_000)
          .map((value) => replaced(message, place, value)),
      );
    });
    expect(Reflect.get({}, "key")).toBeUndefined();
  });
});

describe("lists", () => {
  const filters = [
    `tags."${CONTENT}-tag" = '${CONTENT}'`,
    `params."${CONTENT}-param" LIKE '%hidden%'`,
    `metrics.loss < 1`,
  ];
  const orders = [`tags."${CONTENT}-tag" ASC`, `metrics."${CONTENT}-loss" DESC`, `params."${CONTENT}-param" ASC`];

  test("of experiments that the user may see in part are of those, however they are filtered, sorted and paged", async () => {
    const theirs = await makeThings(server, { name: "more", content: "more", value: 0.5 });
    const user = await server.grant(await server.user("lister", "none"), "experiment", theirs.experiment, "viewer");
    // A page token of somebody who sees more.
    const { body } = await server.owner.post("runs/search", {
      experiment_ids: [secret.experiment, theirs.experiment],
      max_results: 1,
    });
    for (const experiment_ids of [[secret.experiment], [secret.experiment, theirs.experiment]]) {
      for (const more of [
        {},
        { page_token: body.next_page_token },
        { max_results: 1 },
        ...filters.map((filter) => ({ filter })),
        ...orders.map((order) => ({ order_by: [order] })),
      ]) {
        const locations = experiment_ids.map((experiment_id) => ({
          type: "MLFLOW_EXPERIMENT",
          mlflow_experiment: { experiment_id },
        }));
        for (const [path, fields] of [
          ["runs/search", { experiment_ids, run_view_type: "ALL" }],
          ["logged-models/search", { experiment_ids, ...("order_by" in more ? { order_by: [] } : {}) }],
          ["/api/3.0/mlflow/traces/search", { locations }],
          ["/api/3.0/mlflow/traces/search", { experiment_ids }],
          ["experiments/search-datasets", { experiment_ids }],
          ["/api/anneal/runs/table", { experiment_ids, metrics: ["loss"], tags: [`${CONTENT}-tag`] }],
          ["experiments/search", { view_type: "ALL" }],
          ["registered-models/search", {}],
          ["model-versions/search", {}],
        ] as const) {
          const found = await user.post(path, { ...more, ...fields });
          const text = JSON.stringify(found.body).replaceAll(String(filters), "");
          const what = [path, more, found.status, text.slice(0, 300)];
          const shows = [secret.run, secret.loggedModel, secret.trace, secret.model, String(VALUE)];
          expect([...what, found.status < 500, shows.filter((it) => text.includes(it))]).toEqual([...what, true, []]);
          if (found.status === 200) expect([...what, text.includes(CONTENT)]).toEqual([...what, false]);
        }
      }
    }
    const keys = await user.get("/api/anneal/experiments/keys", { experiment_ids: secret.experiment });
    expect(keys.body).toEqual({ metrics: [], params: [] });
  });

  test("a filter on what is secret does not tell by its number of results", async () => {
    const counts = await Promise.all(
      filters.map(async (filter) =>
        (await member.post("/api/anneal/runs/table", { experiment_ids: [secret.experiment], filter })).at("total"),
      ),
    );
    expect(counts).toEqual([0, 0, 0]);
    for (const path of ["registered-models/search", "model-versions/search"]) {
      const found = await member.post(path, { filter: `name = '${secret.model}'` });
      expect([path, found.body]).toEqual([path, {}]);
      const byRun = await member.post("model-versions/search", { filter: `run_id = '${secret.run}'` });
      expect(byRun.body).toEqual({});
    }
  });

  test("metrics of several runs are refused if one of them is secret", async () => {
    const run = await server.owner.run(own.experiment, { metrics: { loss: 0.5 } });
    const query = (name: string, ids: string[]) => ids.map((id) => `${name}=${id}`).join("&");
    for (const ids of [[run, secret.run], [secret.run, run], [secret.run]]) {
      for (const address of [
        `/api/2.0/mlflow/metrics/get-history-bulk?metric_key=loss&${query("run_id", ids)}`,
        `/api/2.0/mlflow/metrics/get-history-bulk-interval?metric_key=loss&${query("run_ids", ids)}`,
      ]) {
        const said = await member.download(address);
        expect([address, said.status, said.text.includes(String(VALUE))]).toEqual([address, 403, false]);
      }
      const traces = await member.download(
        `/api/3.0/mlflow/traces/batchGet?${query("trace_ids", [own.trace, secret.trace])}`,
      );
      expect([traces.status, hasSecret(traces.text)]).toEqual([403, false]);
    }
  });

  test("events of secret things are not heard", async () => {
    const heard = { text: "" };
    const { body } = await member.fetch("/api/anneal/events");
    const decoder = new TextDecoder();
    void (async () => {
      for await (const chunk of body ?? []) heard.text += decoder.decode(chunk);
    })().catch(() => {});
    for (const filter of [`run_id=${secret.run}`, `experiment_id=${secret.experiment}`]) {
      const { body } = await member.fetch(`/api/anneal/events?${filter}`);
      void (async () => {
        for await (const chunk of body ?? []) heard.text += decoder.decode(chunk);
      })().catch(() => {});
    }
    await expect.poll(() => heard.text.split("event: open").length).toBe(4);
    const { owner } = server;
    await owner.must("POST", "runs/set-tag", { run_id: secret.run, key: "k", value: "v" });
    await owner.must("POST", "runs/log-metric", { run_id: secret.run, key: `${CONTENT}-loss`, value: 1, timestamp: 2 });
    await owner.must("POST", "registered-models/set-tag", { name: secret.model, key: "k", value: "v" });
    await owner.must("POST", "experiments/set-experiment-tag", {
      experiment_id: own.experiment,
      key: "last",
      value: "",
    });
    await expect.poll(() => heard.text).toContain(`"experiment_id":"${own.experiment}"`);
    expect(heard.text).not.toMatch(new RegExp(`${CONTENT}|${secret.run}|${secret.model}|"${secret.experiment}"`));
  });
});

test("the refused requests are in the log of changes, which only admins may read", async () => {
  const db = new Libsql(join(server.dataDir, "tracker.db"), { readonly: true });
  const { n } = db.prepare("SELECT count(*) AS n FROM audit_log WHERE who = 'member' AND status = 403").get([]) as {
    n: number;
  };
  db.close();
  expect(n).toBeGreaterThan(50);
  expect((await viewer.get("/api/anneal/audit")).status).toBe(403);
});
