import { defineConfig } from "vitest/config";

// Tests run as compiled, from dist: worker threads and child processes are then the very files that ship.
const shared = { pool: "forks", testTimeout: 60_000, hookTimeout: 60_000 };

export default defineConfig({
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
      {
        // What trains for minutes gets the machine for itself: two at a time take longer than one after the other.
        test: {
          ...shared,
          name: "across rooms",
          include: ["dist/tests/**/*.test.js"],
          maxWorkers: 1,
          fileParallelism: false,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
