import { type ParseArgsConfig, parseArgs } from "node:util";
import { UsageError } from "../errors.ts";

/** Flags of a command, as `util.parseArgs` takes them. */
export type Flags = NonNullable<ParseArgsConfig["options"]>;

/** What a command was called with. */
export interface Call<F extends Flags> {
  values: ReturnType<typeof parseArgs<{ options: F; allowPositionals: true; allowNegative: true }>>["values"];
  /** Its arguments, without the command's name. */
  args: string[];
  /** Names of the flags that stand on the command line; the others have their defaults. */
  given: ReadonlySet<string>;
}

/** A command of the command line. */
export interface Command {
  readonly name: string;
  /** Its part of `anneal --help`. */
  readonly help: string;
  /** @returns the exit status */
  run(args: readonly string[]): Promise<number>;
}

/** The folder for everything that is kept. */
export const dataFlag = { type: "string", default: process.env.ANNEAL_DATA || ".anneal" } as const;

/**
 * Define a command. What it needs is imported when it runs: `anneal --help` reads all definitions, and is to be quick.
 * @param definition.help lines for `anneal --help`: how it is called, what it does, its flags
 * @param definition.takes how many arguments it takes at most; 0 when left out
 */
export function defineCommand<const F extends Flags>(definition: {
  name: string;
  help: string;
  flags: F;
  takes?: number;
  run(call: Call<F>): Promise<number>;
}): Command {
  const { name, help, flags, takes = 0 } = definition;
  return {
    name,
    help,
    async run(argv) {
      if (argv.includes("--help") || argv.includes("-h")) {
        process.stdout.write(help);
        return 0;
      }
      const { values, positionals, tokens } = parse(name, argv, flags);
      const extra = positionals.slice(takes);
      if (extra.length > 0) throw new UsageError(`anneal ${name} does not know what to do with ${extra.join(" ")}.`);
      const given = new Set(tokens.flatMap((token) => (token.kind === "option" ? [token.name] : [])));
      return definition.run({ values, args: positionals, given });
    },
  };
}

function parse<F extends Flags>(name: string, args: readonly string[], options: F) {
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true, allowNegative: true, tokens: true });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const unknown = code === "ERR_PARSE_ARGS_UNKNOWN_OPTION" && /'(-[^'\s]*)/.exec(message)?.[1];
    // The first sentence says what is wrong; what follows is about how to pass text that looks like a flag.
    const what = unknown ? `anneal ${name} has no flag ${unknown}` : message.split(/\.\s|\n/)[0].replace(/\.$/, "");
    throw new UsageError(`${what}. \`anneal ${name} --help\` lists what there is.`);
  }
}
