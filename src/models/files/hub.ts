import { access, copyFile, mkdir, readFile, rename, stat, symlink, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join, relative } from "node:path";
import { ModelError } from "../error.ts";
import { download, type RemoteFile, request } from "./download.ts";
import { indexName } from "./write.ts";

// Implemented here, over fetch: the official @huggingface/hub (2.17) neither resumes nor verifies downloads, ignores
// HF_ENDPOINT, HF_TOKEN and offline mode, downloads all files, and reports no progress.

/** Progress of a download. */
export interface HubProgress {
  /** Name of the file that is being downloaded. */
  file: string;
  /** Bytes of all needed files that are already on disk. */
  received: number;
  /** Total bytes of all needed files. */
  total: number;
}

/** Options of {@link resolveModel}. */
export interface HubOptions {
  /** Branch, tag or commit. Default "main". */
  revision?: string;
  /** Access token. Default: HF_TOKEN, else the token that `hf auth login` stored. */
  token?: string;
  /** Cache folder. Default: HF_HUB_CACHE, else HF_HOME/hub, else ~/.cache/huggingface/hub. */
  cacheDir?: string;
  /** Use only files in the cache. Default: whether HF_HUB_OFFLINE is set. */
  localFilesOnly?: boolean;
  /** Called as data arrives. By default, progress is shown on stderr if it is a terminal. */
  onProgress?: (progress: HubProgress) => void;
  /** Files to download, by name or by a predicate. Default: configuration, tokenizer and safetensors files. */
  files?: readonly string[] | ((name: string) => boolean);
  /** Milliseconds before the first retry after a network failure; doubled for each further one. Default 1000. */
  retryDelay?: number;
}

const commitPattern = /^[0-9a-f]{40}$/;
const settings =
  /^((config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|adapter_config|chat_template)\.json|chat_template\.jinja)$/;

/** Whether a file is needed to load a model. Weights in subfolders and Mistral's second copy are skipped. */
const isNeeded = (name: string) =>
  settings.test(name) ||
  (!name.includes("/") && /\.safetensors(\.index\.json)?$/.test(name) && !name.startsWith("consolidated"));

/**
 * Returns the folder of a model. An existing folder is returned as it is; otherwise `owner/name` is downloaded from the
 * Hugging Face Hub to the cache, which is shared with Python's huggingface_hub. Interrupted downloads are resumed, and
 * sizes and digests are verified. HF_ENDPOINT selects another hub.
 *
 * @example
 * const model = await LanguageModel.load(await resolveModel("microsoft/Phi-3-mini-4k-instruct"));
 * @returns path of the folder
 * @throws ModelError when the model does not exist, access is denied, or the network fails
 */
export async function resolveModel(idOrFolder: string, options: HubOptions = {}): Promise<string> {
  const facts = await stat(idOrFolder).catch(() => undefined);
  if (facts?.isDirectory()) return idOrFolder;
  if (facts) throw new ModelError(`${idOrFolder} is a file; pass the folder of a model.`);
  if (!/^\w[\w.-]*(\/\w[\w.-]*)?$/.test(idOrFolder) || idOrFolder.includes("..") || idOrFolder.includes("--")) {
    throw new ModelError(`There is no folder ${idOrFolder}, and it is not a hub id of the form owner/name.`);
  }
  const { revision = "main" } = options;
  if (!/^\w[\w./-]*$/.test(revision) || revision.includes("..")) {
    throw new ModelError(`revision must be a branch, a tag or a commit, not ${JSON.stringify(revision)}.`);
  }
  return new HubModel(idOrFolder, revision, options).resolve();
}

const environment = (name: string) => process.env[name] || undefined;
const home = () =>
  environment("HF_HOME") ?? join(environment("XDG_CACHE_HOME") ?? join(homedir(), ".cache"), "huggingface");

class HubModel {
  readonly #id: string;
  readonly #revision: string;
  readonly #options: HubOptions;
  readonly #endpoint = (environment("HF_ENDPOINT") ?? "https://huggingface.co").replace(/\/+$/, "");
  readonly #store: string;

  constructor(id: string, revision: string, options: HubOptions) {
    this.#id = id;
    this.#revision = revision;
    this.#options = options;
    const cache = options.cacheDir ?? environment("HF_HUB_CACHE") ?? join(home(), "hub");
    this.#store = join(cache, `models--${id.replace("/", "--")}`);
  }

  async resolve(): Promise<string> {
    const cached = await this.#cached();
    const offline = /^(1|on|yes|true)$/i.test(environment("HF_HUB_OFFLINE") ?? "");
    if (this.#options.localFilesOnly ?? offline) {
      if (cached) return cached;
      throw new ModelError(
        `${this.#id} (${this.#revision}) is incomplete or missing in ${this.#store}, and only local files may be used. Download it once without localFilesOnly and HF_HUB_OFFLINE.`,
      );
    }
    // A commit never changes.
    if (cached && commitPattern.test(this.#revision)) return cached;
    const token = await this.#token();
    try {
      return await this.#fetch(token);
    } catch (error) {
      const unreachable = error instanceof ModelError && error.cause !== undefined;
      if (!cached || !unreachable) throw error;
      process.stderr.write(`${error.message} Using the cached copy.\n`);
      return cached;
    }
  }

  /** Returns the snapshot in the cache if it is complete. */
  async #cached(): Promise<string | undefined> {
    const commit = commitPattern.test(this.#revision)
      ? this.#revision
      : (await readFile(join(this.#store, "refs", this.#revision), "utf8").catch(() => "")).trim();
    if (!commitPattern.test(commit)) return undefined;
    const folder = this.#snapshot(commit);
    return (await isComplete(folder, this.#options.files)) ? folder : undefined;
  }

  #snapshot(commit: string): string {
    return join(this.#store, "snapshots", commit);
  }

  async #token(): Promise<string | undefined> {
    const explicit = this.#options.token ?? environment("HF_TOKEN") ?? environment("HUGGING_FACE_HUB_TOKEN");
    if (explicit !== undefined) return explicit.trim() || undefined;
    const path = environment("HF_TOKEN_PATH") ?? join(home(), "token");
    return (await readFile(path, "utf8").catch(() => "")).trim() || undefined;
  }

  async #fetch(token: string | undefined): Promise<string> {
    const headers: Record<string, string> = { "accept-encoding": "identity", "user-agent": "anneal" };
    if (token) headers.authorization = `Bearer ${token}`;
    const call = { headers, delay: this.#options.retryDelay ?? 1000, what: this.#id };
    const api = `${this.#endpoint}/api/models/${this.#id}/revision/${encodeURIComponent(this.#revision)}`;
    const answer = await request(api, call);
    if (!answer.ok) throw this.#refusal(answer, token);
    const { commit, names } = parseInfo(await answer.json().catch(() => undefined), api);
    const needed = this.#choose(names);
    const folder = this.#snapshot(commit);
    const missing: RemoteFile[] = [];
    for (const name of needed) {
      if (!(await exists(join(folder, name)))) missing.push(await this.#fileInfo(name, commit, call, token));
    }
    const total = missing.reduce((sum, { size }) => sum + size, 0);
    const progress = this.#progress(total);
    let before = 0;
    try {
      for (const file of missing) {
        const blob = join(this.#store, "blobs", file.etag);
        const existing = await stat(blob).catch(() => undefined);
        if (existing?.size !== file.size)
          await download(file, blob, call, (bytes) => progress.show(file.name, before + bytes));
        before += file.size;
        progress.show(file.name, before);
        await link(blob, join(folder, file.name));
      }
    } finally {
      progress.end();
    }
    if (this.#revision !== commit) await this.#noteCommit(commit);
    return folder;
  }

  #choose(names: readonly string[]): string[] {
    const { files } = this.#options;
    if (Array.isArray(files)) {
      const absent = files.find((name) => !names.includes(name));
      if (absent !== undefined) throw new ModelError(`${this.#id} (${this.#revision}) has no file ${absent}.`);
    }
    const test = typeof files === "function" ? files : files ? (name: string) => files.includes(name) : isNeeded;
    const chosen = names.filter(test);
    const unsafe = chosen.find((name) => /\\|^\/|\0|(^|\/)\.\.?(\/|$)/.test(name));
    if (unsafe !== undefined) throw new ModelError(`${this.#id} has a file named ${JSON.stringify(unsafe)}.`);
    if (!files && !chosen.some((name) => name.endsWith(".safetensors"))) {
      throw new ModelError(`${this.#id} has no .safetensors files; other formats are not supported.`);
    }
    return chosen;
  }

  /** Fetches a file's metadata. */
  async #fileInfo(
    name: string,
    commit: string,
    call: Parameters<typeof request>[1],
    token: string | undefined,
  ): Promise<RemoteFile> {
    const path = name.split("/").map(encodeURIComponent).join("/");
    let url = `${this.#endpoint}/${this.#id}/resolve/${commit}/${path}`;
    let answer = await request(url, { ...call, method: "HEAD", redirect: "manual" });
    // Relative redirects (renamed models) are followed; absolute ones point to the server of large files.
    for (let hops = 0; hops < 5; hops++) {
      const location = answer.headers.get("location");
      if (answer.status < 300 || answer.status > 399 || !/^\/(?!\/)/.test(location ?? "")) break;
      url = new URL(location ?? "", url).href;
      answer = await request(url, { ...call, method: "HEAD", redirect: "manual" });
    }
    if (answer.status >= 400) throw this.#refusal(answer, token, name);
    const etag = (answer.headers.get("x-linked-etag") ?? answer.headers.get("etag") ?? "").replace(/^W\/|"/g, "");
    const size = Number(answer.headers.get("x-linked-size") ?? answer.headers.get("content-length") ?? Number.NaN);
    if (!/^[\w-]+$/.test(etag) || !Number.isSafeInteger(size)) {
      throw new ModelError(`${url} sent no ETag and size of the file; is ${this.#endpoint} a hub?`);
    }
    return { name, url, etag, size };
  }

  /** Returns the error for a refused request, with a remedy. */
  #refusal(answer: Response, token: string | undefined, file?: string): ModelError {
    const [id, page] = [this.#id, `${this.#endpoint}/${this.#id}`];
    const code = answer.headers.get("x-error-code");
    const give = token ? "" : " and pass a token (the option token, or HF_TOKEN)";
    if (code === "GatedRepo" || answer.status === 403) {
      return new ModelError(`Access to ${id} is denied: accept its licence at ${page}${give}. (${answer.status})`);
    }
    if (code === "RevisionNotFound")
      return new ModelError(`${id} has no revision ${this.#revision}. (${answer.status})`);
    if (code === "EntryNotFound" && file) return new ModelError(`${id} has no file ${file}. (${answer.status})`);
    if (answer.status === 401 || answer.status === 404) {
      const what = token
        ? "Check the spelling, and that the token is valid and may read it."
        : "Check the spelling; if it is private, pass a token (the option token, or HF_TOKEN).";
      return new ModelError(
        `${id} does not exist at ${this.#endpoint}, or you have no access. ${what} (${answer.status})`,
      );
    }
    return new ModelError(`${this.#endpoint} answered ${answer.status} for ${file ?? id}. Try again later.`);
  }

  #progress(total: number) {
    const { onProgress } = this.#options;
    const terminal = !onProgress && process.stderr.isTTY && total > 0;
    let last = 0;
    return {
      show: (file: string, received: number) => {
        if (received < total && Date.now() - last < 100) return;
        last = Date.now();
        onProgress?.({ file, received, total });
        const megabytes = (bytes: number) => (bytes / 1e6).toFixed(1);
        if (terminal) {
          process.stderr.write(`\r\u001b[K${this.#id}: ${megabytes(received)} of ${megabytes(total)} MB, ${file}`);
        }
      },
      end: () => {
        if (terminal) process.stderr.write("\n");
      },
    };
  }

  async #noteCommit(commit: string): Promise<void> {
    const path = join(this.#store, "refs", this.#revision);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(`${path}.${process.pid}`, commit);
    await rename(`${path}.${process.pid}`, path);
  }
}

function parseInfo(info: unknown, url: string): { commit: string; names: string[] } {
  const { sha, siblings } = (typeof info === "object" && info !== null ? info : {}) as Record<string, unknown>;
  if (typeof sha !== "string" || !commitPattern.test(sha) || !Array.isArray(siblings)) {
    throw new ModelError(`The response of ${url} is not that of a hub.`);
  }
  const names = siblings.map((file: { rfilename?: unknown } | null) => file?.rfilename);
  return { commit: sha, names: names.filter((name) => typeof name === "string") };
}

/** Whether a snapshot has all files that loading needs. */
async function isComplete(folder: string, files: HubOptions["files"]): Promise<boolean> {
  const all = async (names: readonly string[]) =>
    (await Promise.all(names.map((name) => exists(join(folder, name))))).every(Boolean);
  if (Array.isArray(files)) return all(files);
  if (await all(["adapter_config.json", "adapter_model.safetensors"])) return true;
  if (!(await all(["config.json"]))) return false;
  if (await all(["model.safetensors"])) return true;
  const index = await readFile(join(folder, indexName), "utf8").catch(() => undefined);
  if (index === undefined) return false;
  try {
    return await all([...new Set(Object.values(JSON.parse(index).weight_map as Record<string, string>))]);
  } catch {
    return false;
  }
}

/** Links a blob into a snapshot. */
async function link(blob: string, pointer: string): Promise<void> {
  await mkdir(dirname(pointer), { recursive: true });
  await symlink(relative(dirname(pointer), blob), pointer).catch(async (error: NodeJS.ErrnoException) => {
    if (error.code === "EEXIST" && (await exists(pointer))) return;
    // On Windows only some users can create symbolic links.
    await copyFile(blob, pointer);
  });
}

const exists = (path: string) =>
  access(path).then(
    () => true,
    () => false,
  );
