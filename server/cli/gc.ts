import { dataFlag, defineCommand } from "./command.ts";
import { artifactsFlag, placesOf, storeFlag } from "./places.ts";

export const gc = defineCommand({
  name: "gc",
  help: `  anneal gc                       permanently remove deleted runs and their files
      --older-than 30d  --dry-run  --data .anneal  --store …  --artifacts …
`,
  flags: {
    "older-than": { type: "string", default: "30d" },
    "dry-run": { type: "boolean", default: false },
    data: dataFlag,
    store: storeFlag,
    artifacts: artifactsFlag,
  },
  async run({ values: { "older-than": olderThan, "dry-run": dryRun, data, store, artifacts } }) {
    const { gc: collectGarbage, showGarbage } = await import("../gc.ts");
    const report = await collectGarbage({ dataDir: data, ...placesOf(store, artifacts) }, olderThan, dryRun);
    process.stdout.write(`${showGarbage(report, olderThan, dryRun)}\n`);
    return 0;
  },
});
