import { defineConfig } from "vitest/config";

// Tests run as compiled, from dist: worker threads and child processes are then the very files that ship.
export default defineConfig({
  test: {
    include: ["dist/**/*.test.js"],
    pool: "forks",
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
