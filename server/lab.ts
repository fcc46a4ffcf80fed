import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import files from "@fastify/static";
import type { FastifyInstance } from "fastify";
import { HttpError } from "./errors.ts";

/** Folder of JupyterLab's bundle, schemas and themes. */
const bundle = join(dirname(fileURLToPath(import.meta.url)), "lab");

interface Build {
  main: string;
  version: string;
}

/** Routes of JupyterLab's page and of the services that store its state. */
export async function labRoutes(app: FastifyInstance, dataDir: string): Promise<void> {
  const build = JSON.parse(await readFile(join(bundle, "build.json"), "utf8")) as Build;
  const stored = join(dataDir, "lab");

  // File names contain a digest of the content, so browsers may cache them forever.
  await app.register(files, {
    root: bundle,
    prefix: "/static/lab/",
    immutable: true,
    maxAge: "365d",
    decorateReply: false,
  });
  await app.register(files, { root: join(bundle, "themes"), prefix: "/lab/api/themes/", decorateReply: false });

  // MLflow's clients print addresses of the tracker such as /#/experiments/0, whose fragment only the browser knows.
  app.get("/", (_, reply) => reply.type("text/html; charset=utf-8").send(startPage));
  for (const url of ["/lab", "/lab/tree/*", "/lab/workspaces/:workspace", "/lab/workspaces/:workspace/tree/*"]) {
    app.get(url, (request, reply) => {
      const { workspace = "default", "*": tree = "" } = request.params as Record<string, string>;
      return reply
        .type("text/html")
        .header("content-security-policy", policy)
        .send(page(build, workspace, tree));
    });
  }

  app.get("/lab/api/settings", async (request) => {
    const idsOnly = (request.query as { ids_only?: string }).ids_only === "true";
    const ids = await settingIds();
    return { settings: await Promise.all(ids.map((id) => (idsOnly ? { id } : readSetting(stored, id)))) };
  });
  app.get("/lab/api/settings/*", (request) => readSetting(stored, wildcard(request)));
  app.put("/lab/api/settings/*", async (request, reply) => {
    const { raw } = (request.body ?? {}) as { raw?: string };
    if (typeof raw !== "string") throw new HttpError(400, "A setting must be sent as { raw: text }.");
    await writeText(settingPath(stored, wildcard(request)), raw);
    return reply.code(204).send();
  });

  app.get("/lab/api/workspaces", async () => {
    const folder = join(stored, "workspaces");
    const names = existsSync(folder) ? (await readdir(folder)).filter((name) => name.endsWith(".json")) : [];
    const values = await Promise.all(names.map((name) => readFile(join(folder, name), "utf8").then(JSON.parse)));
    return { workspaces: { ids: values.map(({ metadata }) => metadata.id), values } };
  });
  app.get("/lab/api/workspaces/*", async (request) => {
    const id = wildcard(request);
    const text = await readFile(workspacePath(stored, id), "utf8").catch(() => undefined);
    return text === undefined ? { data: {}, metadata: { id } } : JSON.parse(text);
  });
  app.put("/lab/api/workspaces/*", async (request, reply) => {
    const body = typeof request.body === "string" ? request.body : JSON.stringify(request.body);
    await writeText(workspacePath(stored, wildcard(request)), body);
    return reply.code(204).send();
  });
  app.delete("/lab/api/workspaces/*", async (request, reply) => {
    await rm(workspacePath(stored, wildcard(request)), { force: true });
    return reply.code(204).send();
  });

  app.get("/lab/api/translations", () => ({
    data: { en: { displayName: "English", nativeName: "English" } },
    message: "",
  }));
  app.get("/lab/api/translations/*", () => ({ data: {}, message: "" }));
  app.get("/lab/api/licenses", () => ({ bundles: {} }));
  app.get("/lab/api/plugins", () => ({ plugins: [] }));
  app.get("/lab/api/listings/*", () => ({ blocked_extensions: [], allowed_extensions: [] }));
}

// The front-end validates settings with compiled code, and Vega compiles expressions, hence 'unsafe-eval'.
/** Leads on from the root: to JupyterLab, or to the tracker with a fragment of MLflow's pages. */
const startPage = `<!doctype html><meta charset="utf-8"><title>Anneal</title>
<script>
  const isTracker = /^#\\/(experiments|models|compare|metric)/.test(location.hash);
  location.replace((isTracker ? "/tracker/" : "/lab") + location.hash);
</script>
<noscript><meta http-equiv="refresh" content="0; url=/lab"></noscript>
<a href="/lab">JupyterLab</a> <a href="/tracker/">Tracker</a>
`;

const policy =
  "default-src 'self'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; " +
  "font-src 'self' data:; connect-src 'self' ws: wss:; frame-src 'self' blob: data:; worker-src 'self' blob:; frame-ancestors 'self'";

function page({ main, version }: Build, workspace: string, treePath: string): string {
  const config = {
    appName: "Anneal",
    appNamespace: "lab",
    appVersion: version,
    appUrl: "/lab",
    treeUrl: "/lab/tree",
    workspacesUrl: "/lab/workspaces",
    settingsUrl: "/lab/api/settings",
    themesUrl: "/lab/api/themes",
    workspacesApiUrl: "/lab/api/workspaces",
    translationsApiUrl: "/lab/api/translations",
    licensesUrl: "/lab/api/licenses",
    listingsUrl: "/lab/api/listings",
    fullSettingsUrl: "/lab/api/settings",
    fullThemesUrl: "/lab/api/themes",
    fullWorkspacesApiUrl: "/lab/api/workspaces",
    fullTranslationsApiUrl: "/lab/api/translations",
    fullLicensesUrl: "/lab/api/licenses",
    fullListingsUrl: "/lab/api/listings",
    fullLabextensionsUrl: "/lab/extensions",
    fullStaticUrl: "/static/lab",
    baseUrl: "/",
    wsUrl: "",
    mode: "multiple-document",
    workspace,
    treePath,
    notebookVersion: "[2, 0, 0]",
    federated_extensions: [],
    disabledExtensions: [],
    terminalsAvailable: false,
    notebookStartsKernel: true,
    exposeAppInBrowser: false,
    cacheFiles: false,
    devMode: false,
    store_id: 0,
    extensionManager: {},
    quitButton: false,
  };
  const json = JSON.stringify(config).replaceAll("<", "\\u003c");
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Anneal</title><link rel="icon" href="data:,"></head><body>
<script id="jupyter-config-data" type="application/json">${json}</script>
<script defer src="/static/lab/${main}"></script></body></html>`;
}

function wildcard(request: { params: unknown }): string {
  return (request.params as { "*": string })["*"];
}

async function settingIds(): Promise<string[]> {
  const schemas = join(bundle, "schemas");
  const files = await readdir(schemas, { recursive: true });
  return files
    .map((file) => file.replaceAll("\\", "/"))
    .filter((file) => file.endsWith(".json") && !file.includes("/package.json"))
    .map((file) => file.replace(/\/([^/]+)\.json$/, ":$1"));
}

async function readSetting(stored: string, id: string) {
  const match = /^(@[\w-]+\/[\w-]+):([\w-]+)$/.exec(id);
  const path = match && join(bundle, "schemas", match[1], `${match[2]}.json`);
  if (!path || !existsSync(path)) throw new HttpError(404, `There is no setting ${id}.`);
  const file = settingPath(stored, id);
  const facts = await stat(file).catch(() => undefined);
  return {
    id,
    raw: facts ? await readFile(file, "utf8") : "{}",
    schema: JSON.parse(await readFile(path, "utf8")),
    settings: {},
    version: await readFile(join(dirname(path), "version.txt"), "utf8"),
    created: facts?.birthtime.toISOString() ?? null,
    last_modified: facts?.mtime.toISOString() ?? null,
  };
}

/** Encodes an id from outside as a file name without path characters. */
const fileName = (id: string) => encodeURIComponent(id).replaceAll(".", "%2E");
const settingPath = (stored: string, id: string) => join(stored, "settings", `${fileName(id)}.json5`);
const workspacePath = (stored: string, id: string) => join(stored, "workspaces", `${fileName(id)}.json`);

async function writeText(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, text);
}
