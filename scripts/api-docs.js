// npm run docs:api: writes docs/api.md anew, from the doc comments of what the package's entries export.
import { writeFileSync } from "node:fs";
import { build, root } from "./prepare.js";

build({ pages: false });
const { apiPage } = await import(`${root}/dist/tests/api-page.js`);
writeFileSync(`${root}/docs/api.md`, apiPage());
