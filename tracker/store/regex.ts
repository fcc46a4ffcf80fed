import { invalid } from "../errors.ts";

/*
 * The regular expressions of the comparator RLIKE. Databases match them with engines that need exponential time for some
 * expressions, or have none. So only those are supported that the wildcards of a database can express: characters, sets,
 * `.`, `.*`, `.+`, alternatives, groups of alternatives, `^` and `$`. Others are refused.
 */

/** A part of an expression: a text, any one character, any characters, or one character of a set. */
export type RegexPart =
  | { kind: "text"; text: string }
  | { kind: "one" }
  | { kind: "many" }
  | { kind: "set"; negated: boolean; ranges: readonly (readonly [string, string])[] };

/** Expanded alternatives, and parts of each. Each makes a condition of the statement. */
const MAX_ALTERNATIVES = 20;
const MAX_PARTS = 200;

const CLASSES: Readonly<Record<string, readonly (readonly [string, string])[]>> = {
  d: [["0", "9"]],
  w: [
    ["A", "Z"],
    ["a", "z"],
    ["0", "9"],
    ["_", "_"],
  ],
  s: [
    [" ", " "],
    ["\t", "\r"],
  ],
};

/**
 * Parses an expression.
 * @returns the alternatives, one of which must match a text from its beginning to its end
 * @throws INVALID_PARAMETER_VALUE for what is not supported
 */
export function parseRegex(source: string): RegexPart[][] {
  let at = 0;
  const fail = (why: string) =>
    invalid(
      `Invalid RLIKE expression '${source.slice(0, 200)}': ${why} at position ${at + 1}. Supported are characters, [sets], \\d, \\w, \\s, '.', '.*', '.+', a|b, (a|b), ^ and $.`,
    );
  const escaped = (): RegexPart => {
    const char = source[at + 1];
    if (char === undefined) throw fail("a backslash without a character");
    const lower = char.toLowerCase();
    if (!/[a-z0-9]/i.test(char)) {
      at += 2;
      return { kind: "text", text: char };
    }
    const ranges = CLASSES[lower];
    if (!ranges) throw fail(`\\${char} is not supported`);
    at += 2;
    return { kind: "set", negated: char !== lower, ranges };
  };
  const set = (): RegexPart => {
    at++;
    const negated = source[at] === "^";
    if (negated) at++;
    const ranges: (readonly [string, string])[] = [];
    for (let first = true; first || source[at] !== "]"; first = false) {
      let from = source[at];
      if (from === undefined) throw fail("a set that is not closed");
      if (from === "\\") {
        const part = escaped();
        if (part.kind === "set") {
          if (part.negated) throw fail("a negated class in a set");
          ranges.push(...part.ranges);
          continue;
        }
        from = part.kind === "text" ? part.text : "";
      } else at++;
      const to = source[at] === "-" && source[at + 1] !== "]" ? source[at + 1] : undefined;
      if (to !== undefined) at += 2;
      if (to !== undefined && (to < from || to === "\\")) throw fail(`the range ${from}-${to} is not supported`);
      ranges.push([from, to ?? from]);
    }
    at++;
    return { kind: "set", negated, ranges };
  };
  const checked = (alternatives: RegexPart[][]): RegexPart[][] => {
    if (alternatives.length > MAX_ALTERNATIVES) throw fail(`more than ${MAX_ALTERNATIVES} alternatives`);
    if (alternatives.some((parts) => parts.length > MAX_PARTS)) throw fail(`more than ${MAX_PARTS} parts`);
    return alternatives;
  };
  /** One part, as alternatives; undefined at the end of a sequence. */
  const next = (): RegexPart[][] | undefined => {
    const char = source[at];
    if (char === undefined || "|)$".includes(char)) return undefined;
    if (char === "(") {
      at++;
      if (source.startsWith("?:", at)) at += 2;
      else if (source[at] === "?") throw fail("this kind of group");
      const inside = choice();
      if (source[at] !== ")") throw fail("a group that is not closed");
      at++;
      return inside;
    }
    if (char === "[") return [[set()]];
    if (char === "\\") return [[escaped()]];
    if ("*+?{^".includes(char)) throw fail(`'${char}' in this place`);
    at++;
    if (char !== ".") return [[{ kind: "text", text: char }]];
    const repeat = source[at];
    if (repeat !== "*" && repeat !== "+") return [[{ kind: "one" }]];
    at++;
    if (source[at] === "?") at++;
    return [repeat === "*" ? [{ kind: "many" }] : [{ kind: "one" }, { kind: "many" }]];
  };
  const sequence = (): RegexPart[][] => {
    let all: RegexPart[][] = [[]];
    for (let part = next(); part; part = next()) {
      const follows = part;
      if (/[*+?{]/.test(source[at] ?? "")) throw fail(`'${source[at]}' after anything but '.'`);
      all = checked(all.flatMap((before) => follows.map((after) => [...before, ...after])));
    }
    return all;
  };
  const choice = (): RegexPart[][] => {
    const all = sequence();
    while (source[at] === "|") {
      at++;
      all.push(...sequence());
    }
    return checked(all);
  };

  const found: RegexPart[][] = [];
  for (;;) {
    const fromStart = source[at] === "^";
    if (fromStart) at++;
    const sequences = sequence();
    const toEnd = source[at] === "$";
    if (toEnd) at++;
    const open: RegexPart[] = [{ kind: "many" }];
    found.push(...sequences.map((parts) => [...(fromStart ? [] : open), ...parts, ...(toEnd ? [] : open)]));
    if (source[at] !== "|") break;
    at++;
  }
  if (at < source.length) throw fail(`'${source[at]}' in this place`);
  return checked(found);
}
