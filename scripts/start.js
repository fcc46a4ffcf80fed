// npm start: installs missing packages, builds outdated targets and opens the studio.
import { spawn } from "node:child_process";
import { build, install, root } from "./prepare.js";

install();
build();
const studio = spawn(process.execPath, [`${root}/dist/server/cli/main.js`, "start", ...process.argv.slice(2)], {
  stdio: "inherit",
});
// Ctrl-C also reaches the studio; this process waits until it has shut down.
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => signal === "SIGTERM" && studio.kill(signal));
studio.on("exit", (code) => process.exit(code ?? 1));
