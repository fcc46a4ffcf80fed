#!/usr/bin/env node
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve as resolvePath } from "node:path";
import { parseArgs, stripVTControlCharacters } from "node:util";
import { installKernelSpec } from "../kernel/spec.ts";
import { recoverJournals } from "../src/track/index.ts";
import type { Role } from "../tracker/index.ts";
import { diagnose, showDiagnosis } from "./doctor.ts";
import { UsageError } from "./errors.ts";
import { gc, showGarbage } from "./gc.ts";
import { rerun, showReport } from "./rerun.ts";
import { reportTo, runNotebook } from "./run.ts";
import { type StudioOptions, startStudio } from "./studio.ts";
import { showTransfer, transferMlflow } from "./transfer.ts";

/** Milliseconds between two looks for runs whose process is gone. */
const recoveryInterval = 3000;

const help = `anneal: TypeScript notebooks that train

  anneal start                    open the studio: JupyterLab, kernel and tracker
      --port 8888  --host 127.0.0.1  --data .anneal  --root .  --no-browser
  anneal tracker                  the tracker alone
      --port 5000  --host 127.0.0.1  --data .anneal
      --store <file | postgresql://user:password@host/database>
      --artifacts <folder | s3://bucket/prefix>
      --no-auth                   let everyone in who reaches it
      --rate-limit <requests a minute of one user's token>
      --oidc-issuer <url>  --oidc-client-id <id>  --oidc-role viewer  --url <address that browsers see>
                                  sign in by OpenID Connect; its secret is read from ANNEAL_OIDC_CLIENT_SECRET
  anneal run <notebook>           execute a notebook without a browser
      --output <file>  --data .anneal
  anneal rerun <run id>           do a recorded run again and compare every metric; exits with 1 if one differs
      --data .anneal
  anneal import mlflow <uri>      bring over what an MLflow server or its database holds
      --data .anneal  --store …  --artifacts <folder or s3:// of a database's mlflow-artifacts:/>
  anneal export mlflow <uri>      bring over to an MLflow server what the tracker holds
      --data .anneal  --store …
  anneal gc                       take away for good what was deleted
      --older-than 30d  --dry-run  --data .anneal  --store …  --artifacts …
  anneal install                  let another Jupyter find the kernel
      --prefix <folder>
  anneal doctor                   what this machine has to train with, how fast it is, and what is missing
      --json  --data .anneal
  anneal --version, anneal --help
`;

const flags = {
  port: { type: "string" },
  host: { type: "string", default: "127.0.0.1" },
  data: { type: "string", default: process.env.ANNEAL_DATA ?? ".anneal" },
  root: { type: "string", default: "." },
  store: { type: "string", default: process.env.ANNEAL_STORE },
  artifacts: { type: "string", default: process.env.ANNEAL_ARTIFACTS },
  auth: { type: "boolean", default: true },
  "rate-limit": { type: "string" },
  "oidc-issuer": { type: "string", default: process.env.ANNEAL_OIDC_ISSUER },
  "oidc-client-id": { type: "string", default: process.env.ANNEAL_OIDC_CLIENT_ID },
  "oidc-role": { type: "string", default: "viewer" },
  url: { type: "string", default: process.env.ANNEAL_URL },
  output: { type: "string", short: "o" },
  prefix: { type: "string" },
  "older-than": { type: "string", default: "30d" },
  "dry-run": { type: "boolean", default: false },
  browser: { type: "boolean", default: true },
  json: { type: "boolean", default: false },
  version: { type: "boolean", default: false },
  help: { type: "boolean", short: "h", default: false },
} as const;

/** Which flags each command heeds, and how many arguments it takes. */
const commands: Record<string, { flags: (keyof typeof flags)[]; takes: 0 | 1 | 2 }> = {
  start: { flags: ["port", "host", "data", "root", "browser"], takes: 0 },
  tracker: {
    flags: [
      "port",
      "host",
      "data",
      "store",
      "artifacts",
      "auth",
      "rate-limit",
      "oidc-issuer",
      "oidc-client-id",
      "oidc-role",
      "url",
      "browser",
    ],
    takes: 0,
  },
  run: { flags: ["output", "data"], takes: 1 },
  rerun: { flags: ["data"], takes: 1 },
  import: { flags: ["data", "store", "artifacts"], takes: 2 },
  export: { flags: ["data", "store"], takes: 2 },
  gc: { flags: ["older-than", "dry-run", "data", "store", "artifacts"], takes: 0 },
  install: { flags: ["prefix"], takes: 0 },
  doctor: { flags: ["json", "data"], takes: 0 },
  help: { flags: [], takes: 1 },
};

function parse() {
  try {
    const parsed = parseArgs({ options: flags, allowPositionals: true, allowNegative: true, tokens: true });
    const given = parsed.tokens.flatMap((token) => (token.kind === "option" ? [token.name] : []));
    return { ...parsed, given };
  } catch (error) {
    // The first sentence says which; what follows is about how to pass text that looks like a flag.
    const what = (error as Error).message.split(/\.\s|\n/)[0].replace(/\.$/, "");
    throw new UsageError(`${what}. \`anneal --help\` lists what there is.`);
  }
}

/** A flag or argument that would have no effect is a mistake worth telling. */
function checkUse(command: string, positionals: readonly string[], given: readonly string[]): void {
  const use = commands[command];
  if (!use) throw new UsageError(`There is no command ${command}.\n\n${help}`);
  const extra = positionals.slice(1 + use.takes);
  if (extra.length > 0) throw new UsageError(`anneal ${command} does not know what to do with ${extra.join(" ")}.`);
  const idle = given.find((name) => !use.flags.some((flag) => flag === name || `no-${flag}` === name));
  if (idle) throw new UsageError(`anneal ${command} has no flag --${idle}. \`anneal --help\` lists what there is.`);
}

async function main(): Promise<number> {
  const { values, positionals, given } = parse();
  if (values.version) {
    const manifest = new URL("../../package.json", import.meta.url);
    process.stdout.write(`${JSON.parse(readFileSync(manifest, "utf8")).version}\n`);
    return 0;
  }
  if (values.help) {
    process.stdout.write(help);
    return 0;
  }
  const [command = "start", argument, second] = positionals;
  checkUse(command, positionals, given);
  switch (command) {
    case "start":
    case "tracker":
      return serve(command === "tracker", values);
    case "run": {
      if (!argument) throw new UsageError("Which notebook? anneal run <notebook>");
      const { output, runs, error } = await runNotebook(argument, {
        dataDir: values.data,
        ...(values.output ? { output: values.output } : {}),
        signal: interruption(),
        listener: reportTo(process.stderr),
      });
      process.stdout.write(`\nWritten: ${output}\n`);
      for (const run of runs) process.stdout.write(`Run ${run.id}  ${run.status.toLowerCase()}  ${run.name}\n`);
      if (!error) return 0;
      const text = `\nCell ${error.cell} stopped with ${error.name}: ${error.value}\n${error.traceback.join("\n")}\n`;
      process.stderr.write(process.stderr.isTTY ? text : stripVTControlCharacters(text));
      return 1;
    }
    case "import":
    case "export": {
      if (argument !== "mlflow" || !second) throw new UsageError(`Of what? anneal ${command} mlflow <uri>`);
      // Here it says where the other's files are; the environment says where ours go.
      const artifactRoot = given.includes("artifacts") ? values.artifacts : undefined;
      const places = placesOf(values.store, process.env.ANNEAL_ARTIFACTS);
      const from = { direction: command, uri: second, dataDir: values.data, places } as const;
      const report = await transferMlflow({ ...from, ...(artifactRoot ? { artifactRoot } : {}) });
      process.stdout.write(`${showTransfer(report)}\n`);
      return report.problems.length === 0 ? 0 : 1;
    }
    case "gc": {
      const { "older-than": olderThan, "dry-run": dryRun, store, artifacts } = values;
      const report = await gc({ dataDir: values.data, ...placesOf(store, artifacts) }, olderThan, dryRun);
      process.stdout.write(`${showGarbage(report, olderThan, dryRun)}\n`);
      return 0;
    }
    case "rerun": {
      if (!argument) throw new UsageError("Which run? anneal rerun <run id>");
      const report = await rerun(argument, {
        dataDir: values.data,
        signal: interruption(),
        listener: reportTo(process.stderr),
      });
      process.stdout.write(`\n${showReport(report)}\n`);
      return report.same ? 0 : 1;
    }
    case "install": {
      const folder = installKernelSpec(values.prefix ?? join(homedir(), ".local"));
      process.stdout.write(`The kernel "TypeScript (Anneal)" is installed in ${folder}\n`);
      return 0;
    }
    case "doctor": {
      if (!values.json) process.stderr.write("Measuring, a few seconds a device …\n");
      const found = await diagnose(values.data);
      process.stdout.write(`${values.json ? JSON.stringify(found, null, 2) : showDiagnosis(found)}\n`);
      return found.healthy ? 0 : 1;
    }
    case "help":
      process.stdout.write(help);
      return 0;
    default:
      throw new UsageError(`There is no command ${command}.\n\n${help}`);
  }
}

type Values = ReturnType<typeof parse>["values"];

/** Where a tracker keeps what is not in its data folder; an empty variable of the environment counts as none. */
const placesOf = (store: string | undefined, artifacts: string | undefined) => ({
  ...(store ? { store } : {}),
  ...(artifacts ? { artifacts } : {}),
});

/** What a tracker of a team is told beyond a studio's own. */
function teamOptions(values: Values): Pick<StudioOptions, "store" | "artifacts" | "auth" | "rateLimit" | "oidc"> {
  const { store, artifacts, auth, "rate-limit": rate, "oidc-issuer": issuer, "oidc-client-id": clientId, url } = values;
  const rateLimit = rate === undefined ? undefined : Number(rate);
  if (rateLimit !== undefined && (!Number.isInteger(rateLimit) || rateLimit < 1)) {
    throw new UsageError(`--rate-limit must be a number of requests a minute, not ${rate}.`);
  }
  return {
    auth,
    ...placesOf(store, artifacts),
    ...(rateLimit === undefined ? {} : { rateLimit }),
    ...(issuer
      ? { oidc: { issuer, role: roleOf(values["oidc-role"]), ...clientOf(clientId), ...(url ? { url } : {}) } }
      : {}),
  };
}

function roleOf(role: string): Role {
  if (role === "none" || role === "viewer" || role === "editor" || role === "admin") return role;
  throw new UsageError(`--oidc-role must be none, viewer, editor or admin, not ${role}.`);
}

function clientOf(clientId: string | undefined): { clientId: string; clientSecret: string } {
  const clientSecret = process.env.ANNEAL_OIDC_CLIENT_SECRET;
  if (clientId && clientSecret) return { clientId, clientSecret };
  throw new UsageError(
    "--oidc-issuer needs --oidc-client-id, and the client's secret in the environment as ANNEAL_OIDC_CLIENT_SECRET.",
  );
}

async function serve(trackerOnly: boolean, values: Values): Promise<number> {
  const port = Number(values.port ?? (trackerOnly ? 5000 : 8888));
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new UsageError(`--port must be a number from 0 to 65535, not ${values.port}.`);
  }
  // Heard from the first moment on: whoever is told the address may stop it at once.
  const asked = new Promise<void>((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => resolve());
  });
  const studio = await startStudio({
    root: values.root,
    dataDir: values.data,
    host: values.host,
    port,
    trackerOnly,
    ...(trackerOnly ? teamOptions(values) : {}),
  });
  const page = `${studio.url}${trackerOnly ? "/tracker/" : "/lab"}${studio.token && `?token=${studio.token}`}`;
  if (!studio.token && !["127.0.0.1", "localhost", "::1"].includes(values.host)) {
    process.stderr.write(`\n  Everyone who reaches this machine may read and change everything (--no-auth).\n`);
  }
  process.stdout.write(`\n  Anneal is up: ${page}\n  Stop it with Ctrl-C.\n\n`);
  if (values.browser && !trackerOnly) openBrowser(page);
  const recovery = recoverNowAndThen(values.data);
  await asked;
  clearInterval(recovery);
  process.stdout.write(`\n  Stopping: ${trackerOnly ? "" : "kernels are shut down, "}everything logged is stored.\n`);
  await studio.close();
  return 0;
}

/** Take in what kernels and scripts on this data folder left when they were killed, or while nothing answered. */
function recoverNowAndThen(dataDir: string): NodeJS.Timeout {
  process.env.ANNEAL_DATA = resolvePath(dataDir);
  void recoverJournals();
  return setInterval(() => void recoverJournals(), recoveryInterval);
}

/** Open a page where there is a desktop to show it on. */
function openBrowser(url: string): void {
  const { platform, env } = process;
  if (platform === "linux" && !env.DISPLAY && !env.WAYLAND_DISPLAY) return;
  const [command, ...args] =
    platform === "darwin" ? ["open", url] : platform === "win32" ? ["cmd", "/c", "start", "", url] : ["xdg-open", url];
  const child = spawn(command, args, { stdio: "ignore", detached: true });
  child.on("error", () => undefined); // The address stands on the screen all the same.
  child.unref();
}

/**
 * The first Ctrl-C, or the word of a job scheduler, interrupts the cell that runs, so that its training is saved and the
 * notebook written; the second ends the process.
 */
function interruption(): AbortSignal {
  const controller = new AbortController();
  const signals = ["SIGINT", "SIGTERM"] as const;
  const end = () => process.exit(130);
  const interrupt = () => {
    process.stderr.write("\nInterrupting: training stops after this step. Ctrl-C again ends at once.\n");
    controller.abort();
    for (const signal of signals) process.off(signal, interrupt).on(signal, end);
  };
  for (const signal of signals) process.on(signal, interrupt);
  return controller.signal;
}

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    // What the file system refuses (a folder that may not be written to, a full disk) says all there is to know.
    const expected =
      error instanceof Error && (error instanceof UsageError || error.name === "TrackerError" || "syscall" in error);
    process.stderr.write(`${expected ? error.message : error instanceof Error ? error.stack : String(error)}\n`);
    process.exit(2);
  },
);
