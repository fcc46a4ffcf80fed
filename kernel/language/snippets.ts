/** Completion snippets for members: a method with its parameters. */

/**
 * The snippet for a member.
 * @param detail the compiler's description, such as `(method) Shape.area(scale: number): number`
 * @param place in a class, the parameters get types; in an object literal, they do not
 * @returns undefined if the member is not a function
 */
export function snippetOf(name: string, detail: string, place: "object" | "class"): string | undefined {
  const method = /^\(method\) (?:[^(<]*\.)?[\w$]+(<.*?>)?(\(.*)$/s.exec(detail);
  if (method) {
    const [, generics = "", signature] = method;
    const close = closing(signature);
    if (close < 0) return undefined;
    return place === "class"
      ? `${name}${generics}${signature} {}`
      : `${name}(${parameterNames(signature.slice(1, close))}) {}`;
  }
  const property = /^\(property\) (?:[^:(]*\.)?[\w$]+\??: (\(.*)$/s.exec(detail);
  const signature = property?.[1];
  const close = signature === undefined ? -1 : closing(signature);
  if (signature === undefined || !/^\s*=>/.test(signature.slice(close + 1))) return undefined;
  const parameters = signature.slice(1, close);
  return place === "class" ? `${name} = (${parameters}) => ` : `${name}: (${parameterNames(parameters)}) => `;
}

/** The index of the bracket that closes the first one; -1 if it is missing. */
function closing(text: string): number {
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    if ("([{<".includes(text[i])) depth++;
    // The `>` of an arrow is no bracket.
    else if (")]}".includes(text[i]) || (text[i] === ">" && text[i - 1] !== "=")) depth--;
    if (depth === 0) return i;
  }
  return -1;
}

/** The names of parameters: `scale, ...rest` for `scale: number, ...rest: T[]`. */
function parameterNames(parameters: string): string {
  const names: string[] = [];
  for (let rest = parameters.trim(); rest !== ""; ) {
    const [whole, name] = /^(\.{0,3}[\p{L}\p{N}_$]+)\??:\s*/u.exec(rest) ?? [];
    if (whole === undefined || name === undefined) return names.join(", ");
    if (name !== "this") names.push(name);
    let end = whole.length;
    while (end < rest.length && rest[end] !== ",") {
      const inner = "([{<".includes(rest[end]) ? closing(rest.slice(end)) : 0;
      end += Math.max(inner, 0) + 1;
    }
    rest = rest.slice(end + 1).trim();
  }
  return names.join(", ");
}
