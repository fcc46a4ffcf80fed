import { type ParseArgsConfig, parseArgs } from "node:util";
import { UsageError } from "../errors.ts";

/** Flags of a command, as `util.parseArgs` takes them. */
export type Flags = NonNullable<ParseArgsConfig["options"]>;

/** Arguments of a call. */
export interface Call<F extends Flags> {
  values: ReturnType<typeof parseArgs<{ options: F; allowPositionals: true; allowNegative: true }>>["values"];
  /** Positional arguments, without the command's name. */
  args: string[];
  /** Names of the flags on the command line; the others have their defaults. */
  given: ReadonlySet<string>;
}

/** A command of the command line interface. */
export interface Command {
  readonly name: string;
  /** Its section of `anneal --help`. */
  readonly help: string;
  /** @returns the exit status */
  run(args: readonly string[]): Promise<number>;
}

/** The folder of all data. */
export const dataFlag = { type: "string", default: process.env.ANNEAL_DATA || ".anneal" } as const;

/**
 * Defines a command. Its `run` imports what it needs when called, because `anneal --help` loads all definitions and must start
 * fast.
 * @param definition.help lines for `anneal --help`: usage, description, flags
 * @param definition.takes maximum number of arguments; default 0
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
      if (extra.length > 0) throw new UsageError(`anneal ${name} does not accept the argument ${extra.join(" ")}.`);
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
    // Only the first sentence; the rest is about passing text that looks like a flag.
    const what = unknown ? `anneal ${name} has no flag ${unknown}` : message.split(/\.\s|\n/)[0].replace(/\.$/, "");
    throw new UsageError(`${what}. \`anneal ${name} --help\` lists the flags.`);
  }
}
