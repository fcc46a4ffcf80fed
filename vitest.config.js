import { existsSync } from "node:fs";
import { defineConfig } from "vitest/config";
// `npx tsc` compiles the kernel but does not bundle it, and kernels run the bundle.
import "./scripts/bundle-kernel.js";

// Tests run as compiled, from dist: worker threads and child processes are then the very files that ship.
const shared = { pool: "forks", testTimeout: 60_000, hookTimeout: 60_000, expect: { poll: { timeout: 20_000 } } };

const all = process.env.ANNEAL_TEST_ALL === "1";
const alone = ["browser", "notebook", "webgpu", "attacks/latency"].map((name) => `dist/tests/${name}.test.js`);

/** The tracker's tests once more, on a PostgreSQL server, where one is installed. */
async function onPostgresql() {
  const setup = new URL("./dist/tests/postgresql.js", import.meta.url);
  const { findPostgresql } = existsSync(setup) ? await import(setup) : {};
  if (!findPostgresql?.()) {
    process.stderr.write(
      "PostgreSQL is not installed: the tracker is tested on SQLite only (apt-get install postgresql).\n",
    );
    return [];
  }
  return [
    {
      test: {
        ...shared,
        name: "on PostgreSQL",
        include: ["dist/tracker/**/*.test.js"],
        // Slow, and mostly independent of the database.
        exclude: all ? [] : ["dist/tracker/artifacts/**"],
        globalSetup: [setup.pathname],
        maxWorkers: 2,
        sequence: { groupOrder: 0 },
      },
    },
  ];
}

export default defineConfig(async () => ({
  test: {
    projects: [
      {
        test: {
          ...shared,
          name: "rooms",
          include: ["dist/**/*.test.js"],
          exclude: ["dist/tests/**"],
          maxWorkers: 2,
          sequence: { groupOrder: 0 },
        },
      },
      ...(await onPostgresql()),
      {
        test: {
          ...shared,
          name: "across rooms",
          include: ["dist/tests/**/*.test.js"],
          exclude: alone,
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
        },
      },
      {
        // These use all cores, or measure times: two at a time take longer than one after the other, and fail.
        test: {
          ...shared,
          name: "alone",
          include: alone,
          maxWorkers: 1,
          fileParallelism: false,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
}));
