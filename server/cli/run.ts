import { stripVTControlCharacters } from "node:util";
import { UsageError } from "../errors.ts";
import { dataFlag, defineCommand } from "./command.ts";
import { interruption } from "./interruption.ts";

export const run = defineCommand({
  name: "run",
  help: `  anneal run <notebook>           execute a notebook without a browser
      --output <file>  --data .anneal
`,
  flags: { output: { type: "string", short: "o" }, data: dataFlag },
  takes: 1,
  async run({ values, args: [notebook] }) {
    if (!notebook) throw new UsageError("Missing argument: anneal run <notebook>");
    const { reportTo, runNotebook } = await import("../run.ts");
    const { output, runs, error } = await runNotebook(notebook, {
      dataDir: values.data,
      ...(values.output ? { output: values.output } : {}),
      signal: interruption(),
      listener: reportTo(process.stderr),
    });
    process.stdout.write(`\nWritten: ${output}\n`);
    for (const { id, status, name } of runs) process.stdout.write(`Run ${id}  ${status.toLowerCase()}  ${name}\n`);
    if (!error) return 0;
    const text = `\nCell ${error.cell} stopped with ${error.name}: ${error.value}\n${error.traceback.join("\n")}\n`;
    process.stderr.write(process.stderr.isTTY ? text : stripVTControlCharacters(text));
    return 1;
  },
});
