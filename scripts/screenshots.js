// npm run screenshots: makes the documentation's pictures anew, by the tests that go a person's way through the studio.
process.env.UPDATE_SCREENSHOTS = "1";
process.argv.splice(2, process.argv.length, "dist/tests/browser", "dist/tests/lab", "dist/tests/team");
await import("./test.js");
