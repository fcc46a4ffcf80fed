/** Package names, and the suggestion to install a missing package. */

/** The package name in an import specifier: `@a/b` in `@a/b/c`, `x` in `x/y`. */
export function packageName(specifier: string): string {
  return specifier
    .split("/")
    .slice(0, specifier.startsWith("@") ? 2 : 1)
    .join("/");
}

/** Whether a name is a valid npm package name, as opposed to a path, a URL or an alias such as `@/utils`. */
export function isInstallable(name: string): boolean {
  return /^(@[a-z0-9~-][a-z0-9._~-]*\/)?[a-z0-9~-][a-z0-9._~-]*$/i.test(name);
}

/**
 * A button that inserts a cell `%npm install …` above the failed cell, runs it, and runs the failed cell again. It uses
 * only built-in commands of JupyterLab.
 */
export function installSuggestion(packages: readonly string[]): Record<string, string> {
  const magic = `%npm install ${packages.join(" ")}`;
  const steps = {
    commands: [
      "notebook:insert-cell-above",
      "notebook:replace-selection",
      "notebook:run-cell-and-select-next",
      "notebook:run-cell",
    ],
    // All commands get the same arguments; only notebook:replace-selection uses the text.
    args: { text: magic },
    errorIfNotEnabled: true,
  };
  const args = JSON.stringify(steps).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
  return {
    "text/plain": `To install it, run: ${magic}`,
    "text/html":
      `<button class="jp-mod-styled jp-mod-accept" data-commandlinker-command="apputils:run-all-enabled" ` +
      `data-commandlinker-args="${args}">Install ${packages.join(", ")}</button> ` +
      `<span>runs <code>${magic}</code>, then this cell again</span>`,
  };
}
