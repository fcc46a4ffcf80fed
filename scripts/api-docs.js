// npm run docs:api: generates docs/api.md from the doc comments of the package's exports.
import { writeFileSync } from "node:fs";
import { build, root } from "./prepare.js";

build({ pages: false });
const { apiPage } = await import(`${root}/dist/tests/api-page.js`);
writeFileSync(`${root}/docs/api.md`, apiPage());
