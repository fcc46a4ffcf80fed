import { type CardFacts, STATEMENTS, type StatementField, type Statements } from "./facts.ts";

/** The title of each statement, and the hint shown while it is missing. */
const QUESTIONS: Readonly<Record<StatementField, { title: string; ask: string }>> = {
  intended_use: { title: "Intended use", ask: "who should use this model, and for what" },
  out_of_scope_use: { title: "Out-of-scope use", ask: "what this model must not be used for" },
  limitations: { title: "Limitations", ask: "where this model fails, and what biases it is known to have" },
  ethical_considerations: { title: "Ethical considerations", ask: "who could be harmed, and what was done about it" },
  license: { title: "License", ask: "under which licence the model may be used" },
  contact: { title: "Contact", ask: "whom to ask about this model" },
};

/** Formats a number with about five significant digits, thousands separators, and an exponent only if needed. */
export function readable(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return value.toLocaleString("en-US");
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e9)) return value.toExponential(3);
  return String(Number(value.toPrecision(5)));
}

/** Escapes text for a table cell or a sentence. */
const plain = (text: string): string => text.replace(/\s+/g, " ").replace(/[\\`*_[\]<>|#]/g, "\\$&");
/** Inline code. */
const code = (text: string): string => {
  const inside = text.replace(/\s+/g, " ").replaceAll("|", "\\|");
  const fence = "`".repeat(Math.max(0, ...(inside.match(/`+/g) ?? []).map((run) => run.length)) + 1);
  return fence.length === 1 ? `\`${inside}\`` : `${fence} ${inside} ${fence}`;
};
/** JSON strings are valid YAML. */
const yaml = (text: string): string => JSON.stringify(text);

function table(head: string[], rows: string[][]): string {
  return [head, head.map(() => "---"), ...rows].map((row) => `| ${row.join(" | ")} |`).join("\n");
}

function duration(ms: number): string {
  const seconds = Math.round(ms / 1000);
  if (seconds < 1) return `${Math.max(0, Math.round(ms))} ms`;
  const parts = [
    [Math.floor(seconds / 3600), "h"],
    [Math.floor(seconds / 60) % 60, "min"],
    [seconds % 60, "s"],
  ] as const;
  return parts
    .filter(([amount]) => amount > 0)
    .map(([amount, unit]) => `${amount} ${unit}`)
    .join(" ");
}

const date = (time: number): string => new Date(time).toISOString().slice(0, 16).replace("T", " ").concat(" UTC");

const METRIC_TYPES: Readonly<Record<string, string>> = { perplexity: "perplexity", loss: "loss", rougeL: "rouge" };

function frontMatter(facts: CardFacts, statements: Statements): string {
  const names = [...new Set(facts.datasets.map(({ name }) => name))];
  const held = facts.datasets.find(({ context }) => context === "test") ?? facts.datasets[0];
  const lines = ["---"];
  if (statements.license) lines.push(`license: ${yaml(statements.license.value)}`);
  lines.push("library_name: anneal", "pipeline_tag: text-generation");
  const base = facts.lineage[0];
  if (base) lines.push(`base_model: ${yaml(base.name ?? base.id)}`);
  lines.push("tags:", "- anneal", "- phi3");
  if (facts.hyperparameters.some(({ key }) => key === "lora_r")) lines.push("- lora");
  if (names.length > 0) lines.push("datasets:", ...names.map((name) => `- ${yaml(name)}`));
  const results = facts.evaluation.filter(({ value }) => Number.isFinite(value));
  if (results.length > 0) {
    lines.push("metrics:", ...results.map(({ metric }) => `- ${yaml(METRIC_TYPES[metric] ?? metric)}`));
    lines.push("model-index:", `- name: ${yaml(facts.name)}`, "  results:", "  - task:", "      type: text-generation");
    if (held) lines.push("    dataset:", `      name: ${yaml(held.name)}`, `      type: ${yaml(held.name)}`);
    lines.push("    metrics:");
    for (const { metric, value } of results) {
      lines.push(
        `    - type: ${yaml(METRIC_TYPES[metric] ?? metric)}`,
        `      name: ${yaml(`test/${metric}`)}`,
        `      value: ${value}`,
      );
    }
  }
  lines.push("---");
  return lines.join("\n");
}

const MISSING = "**Missing:**";

/** The user's statement, or a marked gap with a hint. */
function statement(field: StatementField, statements: Statements): string {
  const said = statements[field];
  if (!said) return `> ${MISSING} ${QUESTIONS[field].ask}. Only a person can say this.`;
  return `${said.value}\n\n*Stated by ${plain(said.who)}, ${date(said.at)}.*`;
}

const unrecorded = (what: string): string => `*The source run recorded no ${what}.*`;

function details(facts: CardFacts, statements: Statements): string {
  const { run } = facts;
  const rows: string[][] = [
    ["Model", `${plain(facts.name)}, version ${facts.version}`],
    ["Stage", facts.stage + (facts.aliases.length > 0 ? ` (aliases: ${facts.aliases.map(code).join(", ")})` : "")],
    ["Registered", `${date(facts.registeredAt)}${facts.registeredBy ? ` by ${plain(facts.registeredBy)}` : ""}`],
    ["Model type", "Causal language model, Phi-3 architecture"],
  ];
  if (facts.totalParameters !== null) {
    const trained = facts.trainableParameters;
    const share =
      trained === null
        ? ""
        : `, of which ${readable(trained)} (${readable(Number(((100 * trained) / facts.totalParameters).toPrecision(3)))} %) were trained`;
    rows.push(["Parameters", `${readable(facts.totalParameters)}${share}`]);
  }
  if (facts.lineage.length > 0) {
    const chain = facts.lineage.map(({ id, name }) => (name === null ? code(id) : `${plain(name)} (${code(id)})`));
    rows.push(["Fine-tuned from", chain.join(", from ")]);
  }
  rows.push(["License", statements.license ? plain(statements.license.value) : `${MISSING} ${QUESTIONS.license.ask}`]);
  if (run) rows.push(["Source run", `${plain(run.name)} (${code(run.id)}) in experiment ${plain(run.experiment)}`]);
  rows.push(["Files", code(facts.source)]);
  return table(["", ""], rows);
}

function trainingData(facts: CardFacts): string {
  if (facts.datasets.length === 0) return unrecorded("data set");
  const rows = facts.datasets.map((it) => [
    plain(it.name),
    it.context === null ? "" : plain(it.context),
    it.rows === null ? "" : readable(it.rows),
    Object.entries(it.splits)
      .map(([name, size]) => `${plain(name)} ${readable(size)}`)
      .join(", "),
    code(it.digest),
    it.licence === null ? "not stated" : plain(it.licence),
  ]);
  return table(["Data set", "Used for", "Rows", "Splits", "Digest", "Licence of the data"], rows);
}

function keyed(pairs: { key: string; value: string }[], head: [string, string], what: string): string {
  if (pairs.length === 0) return unrecorded(what);
  return table(
    head,
    pairs.map(({ key, value }) => [code(key), code(value)]),
  );
}

function procedure(facts: CardFacts): string {
  const { run } = facts;
  if (!run) return "*This version has no source run, so nothing is known of its training.*";
  const rows: string[][] = [["Started", date(run.startTime)]];
  if (run.endTime !== null) rows.push(["Duration", duration(run.endTime - run.startTime)]);
  if (facts.totalTokens !== null) rows.push(["Tokens trained on", readable(facts.totalTokens)]);
  for (const { metric, value } of facts.training) rows.push([`Last ${code(metric)}`, readable(value)]);
  return table(["", ""], rows);
}

function evaluation(facts: CardFacts): string {
  const parts: string[] = [];
  if (facts.comparison.length > 0) {
    const cell = (value: number | null): string => (value === null ? "" : readable(value));
    parts.push(
      table(
        ["Metric", "Before training", "After training"],
        facts.comparison.map(({ metric, before, after }) => [code(metric), cell(before), cell(after)]),
      ),
    );
  }
  if (facts.evaluation.length > 0) {
    parts.push(
      table(
        ["Metric on the test split", "Value"],
        facts.evaluation.map(({ metric, value }) => [code(metric), readable(value)]),
      ),
    );
  }
  return parts.length > 0 ? parts.join("\n\n") : unrecorded("evaluation");
}

function reproducing(facts: CardFacts): string {
  const { run } = facts;
  if (!run) return "*This version has no source run to repeat.*";
  const rows: string[][] = [];
  if (run.notebook) rows.push(["Notebook", code(run.notebook)]);
  if (run.gitCommit)
    rows.push(["Git commit", `${code(run.gitCommit)}${run.gitDirty ? " with uncommitted changes" : ""}`]);
  const seeds = Object.entries(run.seeds).map(([name, seed]) => `${plain(name)} ${code(seed)}`);
  if (seeds.length > 0) rows.push(["Seeds", seeds.join(", ")]);
  if (run.device) rows.push(["Device", plain(run.device)]);
  if (run.node) rows.push(["Node.js", plain(run.node)]);
  const versions = Object.entries(run.versions).map(([name, version]) => `${plain(name)} ${code(version)}`);
  if (versions.length > 0) rows.push(["Versions", versions.join(", ")]);
  const how = `\`\`\`sh\nnpx anneal rerun ${run.id}\n\`\`\``;
  return rows.length > 0 ? `${how}\n\n${table(["", ""], rows)}` : how;
}

/** The card as Markdown in the layout of the Hugging Face Hub's model cards. */
export function writeCard(facts: CardFacts, statements: Statements): string {
  const description = facts.description ?? "";
  return `${frontMatter(facts, statements)}

# ${plain(facts.name)}
${description === "" ? "" : `\n${description}\n`}
## Model Details

${details(facts, statements)}

## Uses

### ${QUESTIONS.intended_use.title}

${statement("intended_use", statements)}

### ${QUESTIONS.out_of_scope_use.title}

${statement("out_of_scope_use", statements)}

## Bias, Risks and Limitations

### ${QUESTIONS.limitations.title}

${statement("limitations", statements)}

### ${QUESTIONS.ethical_considerations.title}

${statement("ethical_considerations", statements)}

## Training Details

### Training Data

${trainingData(facts)}

### Training Procedure

${procedure(facts)}

### Hyperparameters

${keyed(facts.hyperparameters, ["Hyperparameter", "Value"], "hyperparameters")}

## Evaluation

${evaluation(facts)}

## Technical Specifications

${keyed(facts.architecture, ["Configuration", "Value"], "model configuration")}

## Reproducing

${reproducing(facts)}

## License

${statement("license", statements)}

## Model Card Contact

${statement("contact", statements)}
`;
}

/** The fields that are still empty. */
export const missingStatements = (statements: Statements): StatementField[] =>
  STATEMENTS.filter((field) => statements[field] === undefined);
