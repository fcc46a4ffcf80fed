// npm run test:all: runs all tests, including slow ones that `npm test` skips. Arguments are passed to vitest.
process.env.ANNEAL_TEST_ALL = "1";
await import("./test.js");
