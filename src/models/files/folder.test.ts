import { execFileSync, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { lstat, mkdir, mkdtemp, readdir, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test } from "vitest";
import { saveFolder, verifyFolder, writeFolder } from "./index.ts";

const scratch = await mkdtemp(join(tmpdir(), "anneal-folders-"));
afterAll(() => rm(scratch, { recursive: true }));
const fresh = () => mkdtemp(join(scratch, "case-"));
const read = (folder: string, name: string) => readFile(join(folder, name), "utf8");

/** Run with a small file system of its own, or say why that cannot be tried here. */
async function onMount(options: string, use: (folder: string) => Promise<void>): Promise<boolean> {
  const folder = await fresh();
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", options, "tmpfs", folder], { stdio: "pipe" });
  } catch (error) {
    process.stderr.write(`Not tried, for mounting is not permitted here: ${(error as Error).message.split("\n")[0]}\n`);
    return false;
  }
  try {
    await use(folder);
  } finally {
    execFileSync("umount", [folder]);
  }
  return true;
}

describe("saving a folder", () => {
  test("writes the files with a manifest, and replaces only its own files", async () => {
    const folder = join(await fresh(), "parents", "that are made", "model");
    await writeFolder(folder, { "a.txt": "1", "b/c.bin": Uint8Array.of(1, 2) });
    await verifyFolder(folder);
    await saveFolder(folder, async (writer) => {
      await writer.file("a.txt", "2");
      await writeFile(join(writer.path, "by hand.txt"), "straight into the folder");
    });
    await verifyFolder(folder);
    expect((await readdir(folder)).sort()).toEqual(["a.txt", "by hand.txt", "manifest.json"]);
    expect(await readdir(join(folder, ".."))).toEqual(["model"]);
    await writeFile(join(folder, "by hand.txt"), "changed");
    await expect(verifyFolder(folder)).rejects.toThrow("by hand.txt (7 bytes) differs from what was written");
  });

  test("rejects a folder with other files, names them, and leaves it unchanged", async () => {
    const folder = join(await fresh(), "proj");
    await mkdir(join(folder, "src"), { recursive: true });
    const refused = async (message: string, options = {}) => {
      const before = await readdir(folder, { recursive: true });
      await expect(writeFolder(folder, { "a.txt": "new" }, options)).rejects.toThrow(message);
      expect(await readdir(folder, { recursive: true })).toEqual(before);
      expect(await readdir(join(folder, ".."))).toEqual(["proj"]);
    };
    await refused("proj is occupied: src was not written by Anneal. Choose another folder");
    await writeFile(join(folder, "src", "main.ts"), "work");
    await refused("src/main.ts was not written by Anneal", { overwrite: true });
    await writeFile(join(folder, "manifest.json"), '{"name":"a web page"}');
    await refused("was not written by Anneal", { overwrite: true });
    await rm(folder, { recursive: true });
    await writeFolder(folder, { "a.txt": "1" });
    await writeFile(join(folder, "notes.md"), "mine");
    await refused("notes.md was not written by Anneal", { overwrite: true });
    await rm(join(folder, "notes.md"));
    await writeFile(join(folder, "a.txt"), "edited");
    await refused("a.txt was changed after it was saved");
    expect(await read(folder, "a.txt")).toBe("edited");
    await writeFolder(folder, { "a.txt": "new" }, { overwrite: true });
    expect(await read(folder, "a.txt")).toBe("new");
    const file = join(scratch, "file");
    await writeFile(file, "x");
    await expect(writeFolder(file, { a: "1" })).rejects.toThrow("it is a file");
  });

  test("rejects files that appeared while it wrote", async () => {
    const folder = join(await fresh(), "model");
    const saving = saveFolder(folder, async (writer) => {
      await writer.file("a.txt", "1");
      await mkdir(folder);
      await writeFile(join(folder, "theirs.txt"), "x");
    });
    await expect(saving).rejects.toThrow("theirs.txt was not written by Anneal");
    expect(await readdir(folder)).toEqual(["theirs.txt"]);
  });

  test("accepts an empty folder, and follows a symbolic link, which is kept", async () => {
    const parent = await fresh();
    await mkdir(join(parent, "target"));
    await symlink("target", join(parent, "link"));
    await symlink("later", join(parent, "dangling"));
    for (const [link, target] of [
      ["link", "target"],
      ["dangling", "later"],
    ]) {
      await writeFolder(join(parent, link), { "a.txt": "1" });
      await writeFolder(join(parent, link), { "a.txt": "2" });
      expect((await lstat(join(parent, link))).isSymbolicLink()).toBe(true);
      expect(await read(join(parent, target), "a.txt")).toBe("2");
    }
    expect((await readdir(parent)).sort()).toEqual(["dangling", "later", "link", "target"]);
  });

  test("rejects names that lead outside, and passes on errors of the writer", async () => {
    const folder = join(await fresh(), "model");
    for (const name of ["../a", "/a", "", "manifest.json", "b/../../a"]) {
      await expect(writeFolder(folder, { [name]: "x" })).rejects.toThrow("is not a valid file name");
    }
    const own = new TypeError("my own");
    await expect(saveFolder(folder, () => Promise.reject(own))).rejects.toBe(own);
    expect(await readdir(join(folder, ".."))).toEqual([]);
    const slow = saveFolder(folder, (writer) => writer.file("a", "1"));
    await expect(writeFolder(folder, { a: "2" })).rejects.toThrow("is already being saved");
    await slow;
    expect(await read(folder, "a")).toBe("1");
  });

  test("removes temporary folders of dead processes only", async () => {
    const parent = await fresh();
    const dead = 2 ** 22 + 12_345; // Above the largest process id of Linux.
    for (const name of [
      `.model.partial-${dead}`,
      `.model.partial-1`,
      `.model.partial-${dead}x`,
      `.model2.partial-${dead}`,
    ]) {
      await mkdir(join(parent, name));
    }
    await writeFolder(join(parent, "model"), { "a.txt": "1" });
    expect((await readdir(parent)).sort()).toEqual([
      ".model.partial-1",
      `.model.partial-${dead}x`,
      `.model2.partial-${dead}`,
      "model",
    ]);
    // Killed between the two renames: the new folder is complete, so it is taken; else the old one comes back.
    await rename(join(parent, "model"), join(parent, `.model.old-${dead}`));
    await verifyFolder(join(parent, "model"));
    expect(await read(join(parent, "model"), "a.txt")).toBe("1");
    await writeFolder(join(parent, "new"), { "a.txt": "2" });
    await rename(join(parent, "model"), join(parent, `.model.old-${dead}`));
    await rename(join(parent, "new"), join(parent, `.model.partial-${dead}`));
    await writeFolder(join(parent, "model"), { "a.txt": "3" });
    await rename(join(parent, "model"), join(parent, "third"));
    expect((await readdir(parent)).sort()).toEqual([
      ".model.partial-1",
      `.model.partial-${dead}x`,
      `.model2.partial-${dead}`,
      "third",
    ]);
    await rename(join(parent, "third"), join(parent, `.model.old-${dead}`));
    await writeFolder(join(parent, `.model.partial-${dead}`), { "a.txt": "4" });
    await verifyFolder(join(parent, "model"));
    expect(await read(join(parent, "model"), "a.txt")).toBe("4");
  });
});

describe("when it cannot be saved", () => {
  const big = "x".repeat(3_000_000);

  test("a full disk causes a one-line error; old files stay, and nothing is left behind", async () => {
    await onMount("size=2m", async (mount) => {
      const folder = join(mount, "model");
      await writeFolder(folder, { "a.txt": "1" });
      await expect(writeFolder(folder, { "a.txt": "2", "b.txt": big })).rejects.toThrow(
        /^Cannot save .*model: the disk is full\. .*\(ENOSPC\)\. The previous content is intact\.$/,
      );
      expect(await read(folder, "a.txt")).toBe("1");
      expect(await readdir(mount)).toEqual(["model"]);
      await expect(writeFolder(mount, { "a.txt": "1" })).rejects.toThrow("is occupied");
    });
  });

  test("a read-only file system and a mounted folder cause one-line errors", async () => {
    await onMount("size=2m,ro", async (mount) => {
      await expect(writeFolder(join(mount, "model"), { a: "1" })).rejects.toThrow(/read-only.*\(EROFS\)/);
    });
    await onMount("size=2m", async (mount) => {
      await expect(writeFolder(mount, { a: "1" })).rejects.toThrow("Choose a folder inside it");
    });
  });

  test("a path under a file is said in one line", async () => {
    const file = join(await fresh(), "file");
    await writeFile(file, "x");
    await expect(writeFolder(join(file, "model"), { a: "1" })).rejects.toThrow(
      /a part of the path is a file\. .*(EEXIST|ENOTDIR)/,
    );
  });
});

test("a process killed at any moment leaves the folder wholly old or wholly new", { timeout: 120_000 }, async () => {
  const folder = join(await fresh(), "model");
  const saver = fileURLToPath(new URL("../../../tests/saver.js", import.meta.url));
  const rounds = new Set<string>();
  // A busy machine may need longer until a second save is done.
  for (let kill = 0; kill < 12 || (kill < 30 && rounds.size < 2); kill++) {
    const child = spawn(process.execPath, [saver, folder], { stdio: ["ignore", "pipe", "inherit"] });
    const gone = new Promise((done) => child.once("exit", done));
    await new Promise((ready) => child.stdout.once("data", ready));
    await new Promise((later) => setTimeout(later, 20 + kill * (kill < 12 ? 9.7 : 60)));
    child.kill("SIGKILL");
    await gone;
    await verifyFolder(folder);
    if (!existsSync(folder)) continue; // Killed before the first save was done.
    const contents = await Promise.all(["a.txt", "b/c.txt", "d.txt"].map((name) => read(folder, name)));
    expect(new Set(contents).size).toBe(1);
    rounds.add(contents[0].slice(0, 8));
  }
  expect(rounds.size).toBeGreaterThan(1);
});
