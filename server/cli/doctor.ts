import { dataFlag, defineCommand } from "./command.ts";

export const doctor = defineCommand({
  name: "doctor",
  help: `  anneal doctor                   what this machine has to train with, how fast it is, and what is missing
      --json  --data .anneal
`,
  flags: { json: { type: "boolean", default: false }, data: dataFlag },
  async run({ values }) {
    if (!values.json) process.stderr.write("Measuring, a few seconds a device …\n");
    const { diagnose, showDiagnosis } = await import("../doctor.ts");
    const found = await diagnose(values.data);
    process.stdout.write(`${values.json ? JSON.stringify(found, null, 2) : showDiagnosis(found)}\n`);
    return found.healthy ? 0 : 1;
  },
});
