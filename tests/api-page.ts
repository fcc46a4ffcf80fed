// The text of docs/api.md: a section for each entry point of the package, with names in groups.
import { type Entry, entriesOf, faces, faceText } from "./api-docs.ts";

/** Titles of groups, in order, by prefix of the declaring file's path. */
const groups: Readonly<Record<string, string>> = {
  "models/files": "Saving and loading",
  models: "Models",
  text: "Tokenizers",
  adapters: "Adapters",
  quantize: "Quantization",
  data: "Data",
  "train/optimizers": "Optimizers",
  "train/objectives": "Objectives",
  train: "Training",
  evaluate: "Evaluation",
  engine: "Programs and devices",
  track: "Runs and the tracker",
  "display/widgets": "Widgets",
  "display/notebook": "Notebook integration",
  display: "Tables and charts",
  "nn/init": "Initialization",
  "nn/losses": "Loss functions",
  nn: "Modules and layers",
  "tensor/tensor": "Tensors",
  "tensor/leaf": "Creation",
  "tensor/noise": "Random numbers",
  "tensor/random": "Random numbers",
  "tensor/parameter": "Parameters",
  "tensor/recording": "Parameters",
  "tensor/elementwise": "Arithmetic",
  "tensor/unary": "Elementwise functions",
  "tensor/logic": "Comparison and logic",
  "tensor/reduce": "Reductions",
  "tensor/matmul": "Matrix products",
  "tensor/einsum": "Matrix products",
  "tensor/convolution": "Convolution and pooling",
  "tensor/shaping": "Reshaping and joining",
  "tensor/views": "Reshaping and joining",
  "tensor/indexing": "Indexing and sorting",
  "tensor/neural": "Neural network functions",
  "tensor/grad": "Automatic differentiation",
  "tensor/custom": "Automatic differentiation",
  "tensor/quantized": "Low precision",
  "tensor/half": "Low precision",
  tensor: "Tensors",
};

const titles = [...new Set(Object.values(groups))];

function groupOf({ source }: Entry): string {
  const path = Object.keys(groups).find((prefix) => source === `${prefix}.ts` || source.startsWith(`${prefix}/`));
  if (path === undefined) throw new Error(`tests/api-page.ts has no group for names of src/${source}`);
  return groups[path];
}

/** A parsed doc comment. */
interface Comment {
  text: string;
  params: string[];
  returns: string[];
  throws: string[];
  examples: string[];
}

function readComment(comment: string): Comment {
  const [text, ...tags] = comment.split(/^@(?=param|returns|throws|example|see)/m).map((part) => part.trim());
  const of = (tag: string) =>
    tags.filter((part) => part.startsWith(tag)).map((part) => part.slice(tag.length).replace(/^[ ]/, "").trimEnd());
  const flat = (tag: string) => of(tag).map((part) => part.replace(/\s*\n\s*/g, " ").trim());
  return {
    text,
    params: flat("param"),
    returns: flat("returns"),
    throws: flat("throws"),
    examples: of("example").map((part) => part.trim()),
  };
}

interface Section {
  specifier: string;
  text: string;
  groups: { title: string; entries: Entry[] }[];
  /** Names that another entry documents. */
  elsewhere: string[];
}

/** The names that each entry documents. A name in two entries is documented in the later, more specific one. */
function sections(): Section[] {
  const all = faces.map(({ specifier, file }) => ({ specifier, file, entries: entriesOf(file) }));
  const home = new Map<string, string>();
  for (const { specifier, entries } of all) for (const { name } of entries) home.set(name, specifier);
  return all.map(({ specifier, file, entries }) => {
    const own = entries.filter(({ name }) => home.get(name) === specifier);
    return {
      specifier,
      text: faceText(file),
      groups: titles
        .map((title) => ({ title, entries: own.filter((entry) => groupOf(entry) === title).sort(byName) }))
        .filter(({ entries: some }) => some.length > 0),
      elsewhere: entries.filter(({ name }) => home.get(name) !== specifier).map(({ name }) => name),
    };
  });
}

const byName = (a: Entry, b: Entry) => (a.name.toLowerCase() < b.name.toLowerCase() ? -1 : 1);

/** A heading's anchor, as GitHub generates it: repeated anchors get a number. */
function slugger(): (heading: string) => string {
  const counts = new Map<string, number>();
  return (heading) => {
    const slug = heading
      .toLowerCase()
      .replace(/[^\w\- ]/g, "")
      .replaceAll(" ", "-");
    const count = counts.get(slug) ?? 0;
    counts.set(slug, count + 1);
    return count === 0 ? slug : `${slug}-${count}`;
  };
}

/** Whether a one-line description is enough. */
function isShort({ declarations, comment }: Entry): boolean {
  const { params, returns, throws, examples, text } = readComment(comment ?? "");
  const tags = params.length + returns.length + throws.length + examples.length;
  return (
    tags === 0 && !text.includes("\n\n") && declarations.every((code) => !code.includes("\n") && code.length < 120)
  );
}

/** The text of docs/api.md. */
export function apiPage(): string {
  const all = sections();
  const slug = slugger();
  slug("API reference");
  const addresses = new Map<string, string>();
  for (const section of all) {
    addresses.set(section.specifier, slug(section.specifier));
    for (const { title, entries } of section.groups) {
      const group = slug(title);
      addresses.set(`${section.specifier} ${title}`, group);
      const short = entries.filter(isShort);
      for (const { name } of entries.filter((entry) => !isShort(entry))) addresses.set(name, slug(name));
      for (const { name } of short) addresses.set(name, group);
    }
  }
  const linked = (text: string) =>
    text.replace(/\{@link ([\w.]+)\}/g, (_, target: string) => {
      const address = addresses.get(target.split(".")[0]);
      return address ? `[\`${target}\`](#${address})` : `\`${target}\``;
    });
  const lines = [
    "# API reference",
    "",
    "The exports of the package's entry points. Generated by `npm run docs:api` from the comments in the source; do not edit this file.",
    "",
    ...all.flatMap((section) => [
      `- [\`${section.specifier}\`](#${addresses.get(section.specifier)})`,
      ...section.groups.map(({ title }) => `  - [${title}](#${addresses.get(`${section.specifier} ${title}`)})`),
    ]),
  ];
  for (const section of all) {
    lines.push("", `## ${section.specifier}`, "", section.text.replace(/^`[^`]*`: /, "").replace(/^./, upper));
    if (section.elsewhere.length > 0) {
      const links = section.elsewhere.map((name) => `[\`${name}\`](#${addresses.get(name)})`);
      lines.push("", `It also exports ${links.join(", ")}, which are documented below.`);
    }
    for (const { title, entries } of section.groups) lines.push("", ...groupText(title, entries, linked));
  }
  return `${lines.join("\n")}\n`;
}

const upper = (letter: string) => letter.toUpperCase();

function groupText(title: string, entries: Entry[], linked: (text: string) => string): string[] {
  const short = entries.filter(isShort).map(({ declarations, comment = "" }) => {
    const code = declarations.map((text) => `\`${text.replace(/^function |^const /, "")}\``).join(", ");
    return `- ${code}: ${linked(comment.replace(/\s*\n\s*/g, " "))}`;
  });
  const long = entries.filter((entry) => !isShort(entry)).flatMap((entry) => ["", ...entryText(entry, linked)]);
  return [`### ${title}`, ...(short.length > 0 ? ["", ...short] : []), ...long];
}

function entryText({ name, declarations, comment = "" }: Entry, linked: (text: string) => string): string[] {
  const { text, params, returns, throws, examples } = readComment(comment);
  const facts = [
    ...params.map((param) => param.replace(/^(\S+) ?/, "`$1`: ")),
    ...returns.map((text) => `Returns ${text}`),
    ...throws.map((text) => `Throws ${text}`),
  ];
  return [
    `#### ${name}`,
    "",
    "```ts",
    ...declarations,
    "```",
    "",
    linked(text),
    ...(facts.length > 0 ? ["", ...facts.map((fact) => `- ${linked(fact)}`)] : []),
    ...examples.flatMap((example) => ["", "```ts", example, "```"]),
  ];
}
