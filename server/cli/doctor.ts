import { dataFlag, defineCommand } from "./command.ts";

export const doctor = defineCommand({
  name: "doctor",
  help: `  anneal doctor                   report this machine's devices, their speed, and what is missing
      --json  --data .anneal
`,
  flags: { json: { type: "boolean", default: false }, data: dataFlag },
  async run({ values }) {
    if (!values.json) process.stderr.write("Measuring for a few seconds per device …\n");
    const { diagnose, showDiagnosis } = await import("../doctor.ts");
    const diagnosis = await diagnose(values.data);
    process.stdout.write(`${values.json ? JSON.stringify(diagnosis, null, 2) : showDiagnosis(diagnosis)}\n`);
    return diagnosis.healthy ? 0 : 1;
  },
});
