// Crashes of processes, trackers that are down, and wrong command lines must not lose or break anything.
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { addToRun, startRun } from "../src/track/index.ts";
import { root } from "./reference.ts";
import { Command, cleanUp, cli, Server, scratch, until } from "./support.ts";

const training = join(root, "dist/tests/training.js");
const train = (data: string, ...args: string[]) => new Command(training, args, { ANNEAL_DATA: data });
const range = (n: number) => Array.from({ length: n }, (_, i) => i + 1);
const stepsSaid = (command: Command) => [...command.stdout.matchAll(/^step (\d+)$/gm)].map(([, step]) => Number(step));

afterAll(cleanUp);

describe("a tracker that fails", () => {
  test("has every point once after it was killed and restarted during a training", async () => {
    const data = scratch("restart");
    let tracker = await Server.start("tracker", data);
    const trainer = train(data, "1200");
    const [, id] = await trainer.says(/^run (\w+)/m);
    for (const step of [100, 500]) {
      await trainer.says(new RegExp(`^step ${step}$`, "m"));
      await tracker.command.kill("SIGKILL");
      await trainer.says(new RegExp(`^step ${step + 200}$`, "m"));
      tracker = await Server.start("tracker", data);
    }
    expect(await trainer.exited).toBe(0);
    expect(trainer.stderr).toContain("No data is lost");
    expect(trainer.stderr).not.toContain("    at ");
    for (const key of ["train/loss", "train/grad_norm", "train/learning_rate", "system/tokens_per_second"]) {
      const history = await tracker.history(id, key);
      expect(history.map(({ step }) => step)).toEqual(range(1200));
    }
    expect((await tracker.run(id)).status).toBe("FINISHED");
    expect(readdirSync(join(data, "journal"))).toEqual([]);
    await tracker.stop();
  });

  test("has everything soon after it starts, if it was down at first", async () => {
    const data = scratch("down");
    const alone = train(data, "40");
    expect(await alone.exited).toBe(0);
    const [, id] = await alone.says(/^done (\w+)/m);
    expect(alone.stderr).toContain(`Run ${id} is not at the tracker yet`);

    const tracker = await Server.start("tracker", data);
    const run = await until("the run is there", 20, async () =>
      (await tracker.runs()).find(({ status }) => status === "FINISHED"),
    );
    expect(run.id).toBe(id);
    expect((await tracker.history(id, "train/loss")).map(({ step }) => step)).toEqual(range(40));
    expect(run.params).toMatchObject({ learning_rate: "0.005", total_steps: "40" });
    expect(await tracker.artifacts(id)).toEqual(
      expect.arrayContaining(["environment.json", "model/model.safetensors", "checkpoints/step-40/trainer_state.json"]),
    );
    await tracker.stop();
  });
});

describe("a model of a run", () => {
  interface Model {
    info: { model_id: string; name: string; status: string; source_run_id: string };
    data: { metrics?: { key: string; value: number }[] };
  }
  const models = async (tracker: Server, experiment: string) =>
    (
      await tracker.ask<{ models?: Model[] }>("POST", "/api/2.0/mlflow/logged-models/search", {
        experiment_ids: [experiment],
      })
    ).models ?? [];

  test("is logged once, with files and metrics, although the tracker was down when it was created", async () => {
    const data = scratch("model");
    process.env.ANNEAL_DATA = data;
    const folder = join(data, "made");
    mkdirSync(join(folder, "deeper"), { recursive: true });
    writeFileSync(join(folder, "weights.bin"), "weights");
    writeFileSync(join(folder, "deeper", "config.json"), "{}");
    const run = startRun({ name: "maker", experiment: "made" });
    run.logMetrics({ "eval/loss": 0.25 }, 3);
    run.logModel(folder, "model", { params: { layers: "2" } });
    await run.end();

    const tracker = await Server.start("tracker", data);
    await until("everything has arrived", 30, () => readdirSync(join(data, "journal")).length === 0);
    const { experiment_id } = (
      await tracker.ask<{ run: { info: { experiment_id: string } } }>(
        "GET",
        `/api/2.0/mlflow/runs/get?run_id=${run.id}`,
      )
    ).run.info;
    const [model, ...others] = await models(tracker, experiment_id);
    expect(others).toEqual([]);
    expect(model.info).toMatchObject({ name: "model", status: "LOGGED_MODEL_READY", source_run_id: run.id });
    expect(model.data.metrics).toMatchObject([{ key: "eval/loss", value: 0.25 }]);
    const { run: stored } = await tracker.ask<{ run: { outputs?: { model_outputs: object[] } } }>(
      "GET",
      `/api/2.0/mlflow/runs/get?run_id=${run.id}`,
    );
    expect(stored.outputs?.model_outputs).toEqual([{ model_id: model.info.model_id, step: 3 }]);
    expect(await tracker.artifact(run.id, "model/deeper/config.json")).toBe("{}");
    const { files } = await tracker.ask<{ files: { path: string }[] }>(
      "GET",
      `/api/2.0/mlflow/logged-models/${model.info.model_id}/artifacts/directories`,
    );
    expect(files.map(({ path }) => path).sort()).toEqual(["deeper", "weights.bin"]);
    await tracker.stop();
    delete process.env.ANNEAL_DATA;
  });
});

describe("data that is added to a finished run", () => {
  test("while the tracker is down arrives later, and the run stays finished", async () => {
    const data = scratch("added");
    process.env.ANNEAL_DATA = data;
    let tracker = await Server.start("tracker", data);
    const run = startRun({ name: "measured" });
    run.logMetrics({ "train/loss": 1 }, 7);
    await run.end();
    const ended = await tracker.run(run.id);
    expect(ended.status).toBe("FINISHED");
    await tracker.command.kill("SIGKILL");
    await addToRun(run.id, (over) => over.logMetrics({ "test/loss": 0.5, odd: Number.NaN, huge: Infinity }));
    await addToRun(run.id, (over) => over.setTags({ note: "later" }));

    tracker = await Server.start("tracker", data);
    const run2 = await until("the metric is there", 20, async () => {
      const now = await tracker.run(run.id);
      return now.tags.note !== undefined && now;
    });
    expect(run2).toMatchObject({ status: "FINISHED", endTime: ended.endTime, metrics: { "test/loss": 0.5 } });
    expect(run2.metrics.odd).toBeNaN();
    expect(run2.name).toBe("measured");
    expect((await tracker.history(run.id, "test/loss")).length).toBe(1);
    await tracker.stop();
    delete process.env.ANNEAL_DATA;
  });
});

describe("a training process that is killed", () => {
  test("has its points sent by the tracker's server, and its run marked as failed", async () => {
    const data = scratch("killed");
    const tracker = await Server.start("tracker", data);
    const trainer = train(data, "100000");
    const [, id] = await trainer.says(/^run (\w+)/m);
    await trainer.says(/^step 500$/m);
    await trainer.kill("SIGKILL");
    const said = stepsSaid(trainer);
    const run = await until("the run is marked as failed", 20, async () => {
      const now = await tracker.run(id);
      return now.status === "FAILED" && now;
    });
    expect(run.endTime).toBeGreaterThan(run.startTime);
    const steps = (await tracker.history(id, "train/loss")).map(({ step }) => step);
    // The last step may have been logged but not printed.
    expect(steps).toEqual(range(steps.length));
    expect(steps.length - said.length).toBeOneOf([0, 1]);
    expect(await tracker.artifact(id, "output.log")).toMatch(/^run \w+\nstep 1\n[\s\S]*\nstep 500\n/);
    await tracker.stop();
  });

  test("has its points sent to a remote tracker by the next process", async () => {
    const tracker = await Server.start("tracker", scratch("elsewhere"));
    const data = scratch("here");
    const env = { ANNEAL_DATA: data, ANNEAL_TRACKER_URI: tracker.url, ANNEAL_TOKEN: tracker.token };
    // With a wrong token nothing arrives, but nothing is dropped.
    const trainer = new Command(training, ["100000"], { ...env, ANNEAL_TOKEN: "wrong" });
    const [, id] = await trainer.says(/^run (\w+)/m);
    await trainer.says(/^step 300$/m);
    await trainer.kill("SIGKILL");
    const said = stepsSaid(trainer);
    expect(await tracker.runs()).toEqual([]);

    expect(await new Command(training, ["1"], env).exited).toBe(0);
    const run = await tracker.run(id);
    expect(run.status).toBe("FAILED");
    expect((await tracker.history(id, "train/loss")).length).toBeGreaterThanOrEqual(said.length);
    expect((await tracker.runs()).map(({ status }) => status).sort()).toEqual(["FAILED", "FINISHED"]);
    await tracker.stop();
  });

  test("continues the same run when it is resumed, with no step missing", async () => {
    const data = scratch("resumed");
    const output = join(data, "output");
    const tracker = await Server.start("tracker", data);
    // The steps are long enough that the journal is empty between two of them.
    const again = () => train(data, "100000", output, "256");
    const trainer = again();
    const [, id] = await trainer.says(/^run (\w+)/m);
    await trainer.says(/^step 25$/m);
    await trainer.kill("SIGKILL");
    const before = stepsSaid(trainer).length;
    // Killed again while the tracker is down: the data of both is still in the journal.
    await tracker.command.kill("SIGKILL");
    const second = again();
    await second.says(new RegExp(`^step ${before + 15}$`, "m"));
    await second.kill("SIGKILL");
    const restarted = await Server.start("tracker", data);
    const third = again();
    await third.says(new RegExp(`^step ${before + 60}$`, "m"));
    await third.kill("SIGKILL");
    await until("the run is marked as failed", 20, async () => (await restarted.run(id)).status === "FAILED");

    const history = await restarted.history(id, "train/loss");
    const values = new Map(history.map(({ step, value }) => [step, value]));
    expect([...values.keys()]).toEqual(range(values.size));
    expect(values.size).toBeGreaterThanOrEqual(before + 60);
    // Steps after the last checkpoint were repeated with the same results.
    for (const { step, value } of history) expect(value).toBe(values.get(step));
    await restarted.stop();
  });
});

describe("starting", () => {
  const start = (data: string, ...args: string[]) =>
    new Command(join(root, "dist/server/cli/main.js"), ["start", "--no-browser", "--data", data, ...args]);

  test("a second studio on a data folder prints the address of the first one and exits", async () => {
    const data = scratch("second");
    const first = await Server.start("start", data);
    const second = start(data, "--port", "0");
    expect(await second.exited).toBe(2);
    expect(second.stdout).toBe("");
    expect(second.stderr.trim().split("\n")).toHaveLength(1);
    expect(second.stderr).toContain(`A studio is already running on ${data}: ${first.url}/lab?token=${first.token}`);
    expect((await first.fetch("/api/status")).status).toBe(200);
    expect(await first.stop()).toBe(0);

    const third = await Server.start("start", data);
    expect(third.token).toBe(first.token);
    await third.stop();
  });

  test("of two studios that start simultaneously on a data folder, one succeeds", async () => {
    const data = scratch("twins");
    const args = ["tracker", "--port", "0", "--data", data, "--no-browser"];
    const twins = [new Command(cli, args), new Command(cli, args), new Command(cli, args)];
    const settled = (twin: Command) => twin.child.exitCode !== null || twin.stdout.includes("http://");
    await until("each of them runs or has ended", 30, async () => twins.every(settled));
    const [running, ...more] = twins.filter(({ child }) => child.exitCode === null);
    expect(more).toEqual([]);
    for (const twin of twins.filter((one) => one !== running)) {
      expect(twin.stderr).toMatch(/Another studio is starting|A tracker is already running/);
    }
    await running.kill("SIGTERM");
  });

  test("after a kill, the data folder can be opened again", async () => {
    const data = scratch("again");
    const first = await Server.start("start", data);
    await first.command.kill("SIGKILL");
    const second = await Server.start("start", data);
    expect(await second.stop()).toBe(0);
  });

  test("on a used port fails with a one-line error", async () => {
    const first = await Server.start("tracker", scratch("port"));
    const { port } = new URL(first.url);
    const second = start(scratch("port"), "--port", port);
    expect(await second.exited).toBe(2);
    expect(second.stderr.trim()).toBe(
      `Port ${port} is in use by another program. Choose another with --port, or --port 0 for any free one.`,
    );
    await first.stop();
  });

  test("with invalid arguments fails with a one-line error", async () => {
    const data = scratch("flags");
    mkdirSync(join(data, "folder"), { recursive: true });
    const said = async (...args: string[]) => {
      const command = new Command(join(root, "dist/server/cli/main.js"), args);
      expect(await command.exited).toBe(2);
      expect(command.stderr.trim().split("\n")).toHaveLength(1);
      return command.stderr;
    };
    expect(await said("start", "--port", "70000", "--data", data)).toContain("--port must be a number from 0 to 65535");
    expect(await said("start", "--prot", "1")).toContain("--prot");
    expect(await said("run", "missing.ipynb", "--data", data)).toContain("There is no notebook");
    expect(await said("run", "package.json", "--data", data)).toContain("is not a notebook of format 4");
    expect(await said("run", "README.md", "--data", data)).toContain("is not a notebook");
    expect(await said("rerun", "0123", "--data", data)).toContain("There is no run 0123 in this data folder");
    expect(await said("start", "--port", "0", "--data", join(root, "package.json"))).toContain("package.json");
    expect(await said("start", "--port", "0", "--no-browser", "--root", "missing", "--data", data)).toContain(
      "missing",
    );
  });
});
