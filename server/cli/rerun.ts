import { UsageError } from "../errors.ts";
import { dataFlag, defineCommand } from "./command.ts";
import { interruption } from "./interruption.ts";

export const rerun = defineCommand({
  name: "rerun",
  help: `  anneal rerun <run id>           repeat a recorded run and compare every metric; exits with 1 if one differs
      --data .anneal
`,
  flags: { data: dataFlag },
  takes: 1,
  async run({ values, args: [runId] }) {
    if (!runId) throw new UsageError("Missing argument: anneal rerun <run id>");
    const [{ rerun: rerunRun, showReport }, { reportTo }] = await Promise.all([
      import("../rerun.ts"),
      import("../run.ts"),
    ]);
    const listener = reportTo(process.stderr);
    const report = await rerunRun(runId, { dataDir: values.data, signal: interruption(), listener });
    process.stdout.write(`\n${showReport(report)}\n`);
    return report.same ? 0 : 1;
  },
});
