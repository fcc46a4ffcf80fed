// npm run test:all: every test, with those that take many minutes and that `npm test` leaves out. Arguments go to vitest.
process.env.ANNEAL_TEST_ALL = "1";
await import("./test.js");
