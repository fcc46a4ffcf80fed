import { UsageError } from "../errors.ts";
import { dataFlag, defineCommand } from "./command.ts";
import { locationsFlag, placesOf, storeFlag } from "./places.ts";

export const importRuns = defineCommand({
  name: "import",
  help: `  anneal import mlflow <uri>      import from an MLflow server or its database into the tracker
      --data .anneal  --store …  --artifacts <folder or s3:// of a database's mlflow-artifacts:/>
      --allow-location <s3://bucket/prefix>  where versions' files may be outside the tracker, if none is running
`,
  flags: { data: dataFlag, store: storeFlag, artifacts: { type: "string" }, "allow-location": locationsFlag },
  takes: 2,
  run: ({ values, args }) => transfer("import", args, values),
});

export const exportRuns = defineCommand({
  name: "export",
  help: `  anneal export mlflow <uri>      export from the tracker to an MLflow server
      --data .anneal  --store …
`,
  flags: { data: dataFlag, store: storeFlag },
  takes: 2,
  run: ({ values, args }) => transfer("export", args, values),
});

/** @param values.artifacts location of the artifacts of MLflow's database; ours comes from the environment */
async function transfer(
  direction: "import" | "export",
  [from, uri]: readonly string[],
  values: {
    data: string;
    store?: string | undefined;
    artifacts?: string | undefined;
    "allow-location"?: string[] | undefined;
  },
): Promise<number> {
  if (from !== "mlflow" || !uri) throw new UsageError(`Missing arguments: anneal ${direction} mlflow <uri>`);
  const { showTransfer, transferMlflow } = await import("../transfer.ts");
  const report = await transferMlflow({
    direction,
    uri,
    dataDir: values.data,
    places: placesOf(values.store, process.env.ANNEAL_ARTIFACTS, values["allow-location"]),
    ...(values.artifacts ? { artifactRoot: values.artifacts } : {}),
  });
  process.stdout.write(`${showTransfer(report)}\n`);
  return report.problems.length === 0 ? 0 : 1;
}
