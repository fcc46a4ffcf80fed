import { homedir } from "node:os";
import { join } from "node:path";
import { defineCommand } from "./command.ts";

export const install = defineCommand({
  name: "install",
  help: `  anneal install                  install the kernel for another Jupyter
      --prefix <folder>
`,
  flags: { prefix: { type: "string" } },
  async run({ values }) {
    const { installKernelSpec } = await import("../../kernel/spec.ts");
    const folder = installKernelSpec(values.prefix ?? join(homedir(), ".local"));
    process.stdout.write(`The kernel "TypeScript (Anneal)" is installed in ${folder}\n`);
    return 0;
  },
});
