// npm run screenshots: takes the documentation's screenshots again, with the browser tests and the complete notebook.
process.env.UPDATE_SCREENSHOTS = "1";
process.env.ANNEAL_TEST_ALL = "1";
process.argv.splice(2, process.argv.length, "dist/tests/browser", "dist/tests/lab", "dist/tests/team");
await import("./test.js");
