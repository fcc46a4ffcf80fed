// Ways to Production, and to a guarded alias, that go round the gates: by whom, by which request, and at what moment.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { AttackedServer, type User } from "./server.ts";

let server: AttackedServer;
let owner: User;
beforeEach(async () => {
  server = await AttackedServer.start();
  ({ owner } = server);
});
afterEach(() => server.close());

const NAME = "m";

/** Registers a version for each value of the metric `loss`. @returns their experiment */
async function versions(...losses: number[]): Promise<string> {
  const experiment = await owner.experiment("training");
  for (const loss of losses) {
    const run = await owner.run(experiment, { metrics: { loss }, files: { "model/weights": `weights ${loss}` } });
    const made = await owner.version(NAME, { source: `runs:/${run}/model`, run_id: run });
    expect(made.status).toBe(200);
  }
  return experiment;
}
const setGates = (...gates: object[]) => owner.must("PUT", `/api/anneal/registered-models/${NAME}/gates`, { gates });
const stageOf = async (version: string): Promise<unknown> =>
  (await owner.get("model-versions/get", { name: NAME, version })).at("model_version.current_stage");
const aliases = async (): Promise<unknown> =>
  (await owner.get("registered-models/get", { name: NAME })).at("registered_model.aliases");

/** Every request that brings a version to where the gates count. */
const WAYS: readonly (readonly [string, (user: User, version: string) => ReturnType<User["post"]>])[] = [
  [
    "promote",
    (user, version) => user.post("/api/anneal/model-versions/promote", { name: NAME, version, stage: "Production" }),
  ],
  [
    "promote to production",
    (user, version) => user.post("/api/anneal/model-versions/promote", { name: NAME, version, stage: "pRODUCTION" }),
  ],
  [
    "transition-stage",
    (user, version) => user.post("model-versions/transition-stage", { name: NAME, version, stage: "Production" }),
  ],
  [
    "transition-stage of the pages",
    (user, version) =>
      user.post("/ajax-api/2.0/mlflow/model-versions/transition-stage", {
        name: NAME,
        version: Number(version),
        stage: "production",
        archive_existing_versions: "true",
      }),
  ],
  ...["champion", "Champion", "production", "PRODUCTION"].map(
    (alias) =>
      [
        `the alias ${alias}`,
        (user: User, version: string) => user.post("registered-models/alias", { name: NAME, version, alias }),
      ] as const,
  ),
];

describe("whom the gates let through", () => {
  test.each(WAYS)("not a viewer, whether they pass or not: %s", async (_, go) => {
    await versions(0.5);
    const viewer = await server.user("vera", "viewer");
    await setGates({ metric: "loss", op: "<", bound: 1 });
    expect((await go(viewer, "1")).status).toBe(403);
    await setGates();
    expect((await go(viewer, "1")).status).toBe(403);
    expect([await stageOf("1"), await aliases()]).toEqual(["None", undefined]);
  });

  test.each(WAYS)("not an editor, if they do not pass: %s", async (_, go) => {
    await versions(0.5);
    const editor = await server.user("eddie", "editor");
    await setGates({ metric: "loss", op: "<", bound: 0.1 });
    const refused = await go(editor, "1");
    expect([refused.status, refused.at("error_code")]).toEqual([409, "RESOURCE_CONFLICT"]);
    // Nor by changing what is judged, where the right for it is missing.
    expect((await editor.send("PUT", `/api/anneal/registered-models/${NAME}/gates`, { gates: [] })).status).toBe(403);
    expect((await editor.post("registered-models/rename", { name: NAME, new_name: "other" })).status).toBe(403);
    expect((await editor.send("DELETE", "registered-models/delete", { name: NAME })).status).toBe(403);
    expect((await go(editor, "1")).status).toBe(409);
    expect([await stageOf("1"), await aliases()]).toEqual(["None", undefined]);
    await setGates({ metric: "loss", op: "<", bound: 1 });
    expect((await go(editor, "1")).status).toBe(200);
  });

  test.each(WAYS)("not who may not see what is judged: %s", async (_, go) => {
    const experiment = await versions(0.5);
    let editor = await server.user("eddie", "none");
    editor = await server.grant(editor, "model", NAME, "editor");
    await setGates({ metric: "loss", op: "<", bound: 1 });
    const refused = await go(editor, "1");
    expect([refused.status, JSON.stringify(refused.body).includes("0.5")]).toEqual([403, false]);
    editor = await server.grant(editor, "experiment", experiment, "viewer");
    expect((await go(editor, "1")).status).toBe(200);
  });

  test("a version's other fields do not change its stage", async () => {
    await versions(0.5);
    const editor = await server.user("eddie", "editor");
    await setGates({ metric: "loss", op: "<", bound: 0.1 });
    const more = { name: NAME, version: "1", current_stage: "Production", stage: "Production", aliases: ["champion"] };
    await editor.send("PATCH", "model-versions/update", { ...more, description: "x" });
    await editor.post("model-versions/set-tag", { ...more, key: "mlflow.stage", value: "Production" });
    await editor.post("model-versions/create", { ...more, source: "models:/m/1" });
    expect([await stageOf("1"), await stageOf("2"), await aliases()]).toEqual(["None", "None", undefined]);
  });
});

describe("at the same time", () => {
  test("the promotions of several versions are judged one after the other", async () => {
    const losses = [0.9, 0.5, 0.7, 0.3, 0.8, 0.4];
    await versions(...losses);
    await setGates({ metric: "loss", op: "<", versus: "production" });
    const all = losses.map((_, index) => String(index + 1));
    const answers = await Promise.all(
      [...all, ...all].map((version, index) => WAYS[index % 2 ? 0 : 2]?.[1](owner, version)),
    );
    expect(answers.every((it) => it?.status === 200 || it?.status === 409)).toBe(true);
    const history = (await owner.get(`/api/anneal/registered-models/${NAME}/history`)).at("history") as {
      version: number;
      to: string;
      from: string;
    }[];
    const inProduction = new Set<number>();
    for (const { version, from, to } of history.reverse()) {
      if (to === "Production") {
        const others = [...inProduction].map((other) => losses[other - 1] ?? 0);
        // The latest of them is what it was compared with, which was the best so far.
        expect(others.every((loss) => (losses[version - 1] ?? 1) < loss)).toBe(true);
        inProduction.add(version);
      } else if (from === "Production") inProduction.delete(version);
    }
    expect(inProduction.has(4)).toBe(true);
  });

  test("an alias and a stage are judged one after the other", async () => {
    await versions(0.5, 0.4, 0.6);
    await setGates({ metric: "loss", op: "<", versus: "production" });
    for (let round = 0; round < 5; round++) {
      await Promise.all([
        owner.post("model-versions/transition-stage", { name: NAME, version: "2", stage: "Production" }),
        owner.post("registered-models/alias", { name: NAME, alias: "champion", version: "1" }),
        owner.post("registered-models/alias", { name: NAME, alias: "production", version: "3" }),
      ]);
      // The worst can only have come first, and the best is never refused by a worse one.
      expect(await stageOf("2")).toBe("Production");
      for (const alias of ["champion", "production"]) {
        await owner.must("DELETE", "registered-models/alias", { name: NAME, alias });
      }
      const refused = await owner.post("registered-models/alias", { name: NAME, alias: "champion", version: "1" });
      expect(refused.status).toBe(409);
      await owner.must("POST", "model-versions/transition-stage", { name: NAME, version: "2", stage: "Archived" });
    }
  });

  test.each(["stage", "alias"])("gates that change after they were evaluated are evaluated again: %s", async (way) => {
    const experiment = await owner.experiment("training");
    // Its files are read before the promotion: time for others to change the gates.
    const run = await owner.run(experiment, { metrics: { loss: 0.5 }, files: { "model/weights": "x".repeat(60e6) } });
    await owner.version(NAME, { source: `runs:/${run}/model`, run_id: run });
    await setGates({ metric: "loss", op: "<", bound: 1 });
    const going =
      way === "stage"
        ? owner.post("model-versions/transition-stage", { name: NAME, version: "1", stage: "Production" })
        : owner.post("registered-models/alias", { name: NAME, version: "1", alias: "champion" });
    // Long enough for the first evaluation, which reads a few rows, and short beside reading the files.
    await owner.get("registered-models/get", { name: NAME });
    await setGates({ metric: "loss", op: "<", bound: 0.1 });
    const answer = await going;
    expect([answer.status, await stageOf("1"), await aliases()]).toEqual([409, "None", undefined]);
  });
});
