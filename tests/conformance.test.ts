// Jupyter's conformance suite against the kernel, started from an installed kernelspec as by any Jupyter server.
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { cleanUp, cli, scratch } from "./support.ts";

afterAll(cleanUp);

const suite = `
import unittest
import jupyter_kernel_test

class AnnealTests(jupyter_kernel_test.KernelTests):
    kernel_name = "anneal"
    language_name = "typescript"
    file_extension = ".ts"
    code_hello_world = "console.log('hello, world')"
    code_stderr = "console.error('oops')"
    code_generate_error = "throw new Error('on purpose')"
    code_execute_result = [{"code": "6 * 7", "result": "42"}]
    code_display_data = [{"code": "display.png(new Uint8Array([137, 80, 78, 71]))", "mime": "image/png"}]
    code_page_something = "?console"
    code_inspect_sample = "process"
    complete_code_samples = ["1", "function f() { return 1 }"]
    incomplete_code_samples = ["function f() {"]
    invalid_code_samples = ["const const"]
    completion_samples = [{"text": "proces", "matches": {"process"}}]
    code_history_pattern = "6*7"
    supported_history_operations = ("tail", "range", "search")
    code_clear_output = "%check off\\n(globalThis)[Symbol.for('anneal.notebook')].clearOutput()"

unittest.main()
`;

// Debian's package belongs to the system's Python, which may not be the first one in PATH.
const python = [process.env.PYTHON ?? "python3", "/usr/bin/python3"].find(
  (each) => spawnSync(each, ["-c", "import jupyter_kernel_test"]).status === 0,
);
const title = "all twelve tests of jupyter_kernel_test pass";

test.skipIf(!python)(
  python === undefined
    ? `${title} (skipped: Python has no jupyter_kernel_test; apt-get install python3-jupyter-kernel-test)`
    : title,
  () => {
    const prefix = scratch("kernelspec");
    mkdirSync(prefix, { recursive: true });
    const installed = spawnSync(process.execPath, [cli, "install", "--prefix", prefix], { encoding: "utf8" });
    expect(installed.stderr).toBe("");
    writeFileSync(join(prefix, "suite.py"), suite);
    const { stderr, status } = spawnSync(String(python), ["suite.py", "-v"], {
      cwd: prefix,
      encoding: "utf8",
      env: { ...process.env, JUPYTER_PATH: join(prefix, "share/jupyter"), ANNEAL_DATA: join(prefix, "data") },
      timeout: 120_000,
    });
    expect(stderr.match(/ \.\.\. ok$/gm) ?? [], stderr).toHaveLength(12);
    expect(stderr).toMatch(/\nOK\n$/);
    expect(status).toBe(0);
  },
  120_000,
);
