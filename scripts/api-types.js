// node scripts/api-types.js: writes the types of our client and of the tracker's pages anew, from the shapes that the tracker's API document tells.
import { writeFileSync } from "node:fs";
import { build, root } from "./prepare.js";

build();
const { typesText } = await import(`${root}/dist/tests/api-types.js`);
const text = await typesText();
for (const file of ["src/track/api/types.ts", "tracker/ui/src/types.ts"]) writeFileSync(`${root}/${file}`, text);
