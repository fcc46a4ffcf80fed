// npm run screenshots: makes the documentation's pictures anew, by the test that goes a person's way through the studio.
process.env.UPDATE_SCREENSHOTS = "1";
process.argv.splice(2, process.argv.length, "dist/tests/browser");
await import("./test.js");
