// node scripts/api-types.js: generates the client's types from the tracker's declared endpoints (src/track must not import the tracker).
import { writeFileSync } from "node:fs";
import { build, root } from "./prepare.js";

build();
const { typesText } = await import(`${root}/dist/tests/api-types.js`);
writeFileSync(`${root}/src/track/api/types.ts`, await typesText());
