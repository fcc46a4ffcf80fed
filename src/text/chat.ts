import type { Template } from "@huggingface/jinja";
import type { ChatMessage } from "./message.ts";
import { TokenizerError } from "./message.ts";
import { type Piece, type PlainTokenizer, show } from "./plain.ts";

/** Where an answer lies in a chat's ids: from `start` to before `end`. */
export interface AnswerSpan {
  start: number;
  end: number;
}

/** A chat as token ids. */
export interface EncodedChat {
  ids: number[];
  /** The answers of the assistant, each with the token that ends its turn. Empty if they were not asked for. */
  answers: AnswerSpan[];
}

/** What a template is given besides the messages. */
export type TemplateValues = Record<string, unknown>;

/** A piece of a rendered chat: text of the template, or the content of a message. */
interface ChatPiece extends Piece {
  /** Index of the message whose content it is. */
  message?: number;
}

/**
 * Render a chat and encode it. Special tokens are recognised only where the template wrote them: a message that says
 * `<|end|>` stays text.
 * @param wantAnswers also find where the answers lie
 * @throws TokenizerError when the template changes the messages so that this cannot be done
 */
export function encodeChat(
  messages: readonly ChatMessage[],
  template: Template,
  values: TemplateValues,
  tokenizer: PlainTokenizer,
  wantAnswers: boolean,
): EncodedChat {
  const rendered = template.render({ ...values, messages });
  const pieces = split(messages, template, values, rendered);
  if (!pieces) {
    const typed = messages.findIndex(({ content }) => tokenizer.hasSpecial(content));
    if (wantAnswers || typed !== -1) {
      const why = "The chat template changes the contents of the messages";
      throw new TokenizerError(
        wantAnswers
          ? `${why}, so the tokens of the answers cannot be told from the others.`
          : `${why}, and message ${typed + 1} holds the text of a special token, which cannot be told from a real one.`,
      );
    }
    return { ids: tokenizer.encode([{ text: rendered, template: true }]), answers: [] };
  }
  const ids = tokenizer.encode(pieces);
  return { ids, answers: wantAnswers ? findAnswers(messages, pieces, ids, tokenizer) : [] };
}

/** Which parts of a rendered chat are contents; undefined when the template changes them. */
function split(
  messages: readonly ChatMessage[],
  template: Template,
  values: TemplateValues,
  rendered: string,
): ChatPiece[] | undefined {
  // Placeholders stand for the contents while the template runs. They consist of characters that nobody assigned.
  let mark = "\u{F5A3B}";
  while (rendered.includes(mark)) mark += "\u{F5A3C}";
  const placeholder = (i: number) => `${mark}${i}\u{F5A3D}`;
  let marked: string;
  try {
    marked = template.render({
      ...values,
      messages: messages.map((message, i) => ({ ...message, content: placeholder(i) })),
    });
  } catch {
    return undefined;
  }
  for (const change of [(text: string) => text, (text: string) => text.trim()]) {
    const pieces: ChatPiece[] = [];
    for (const [i, part] of marked.split(new RegExp(`${mark}(\\d+)\u{F5A3D}`, "u")).entries()) {
      if (i % 2 === 0) pieces.push({ text: part, template: true });
      else pieces.push({ text: change(messages[Number(part)].content), template: false, message: Number(part) });
    }
    if (pieces.map(({ text }) => text).join("") === rendered) return pieces;
  }
  return undefined;
}

function findAnswers(
  messages: readonly ChatMessage[],
  pieces: readonly ChatPiece[],
  ids: readonly number[],
  tokenizer: PlainTokenizer,
): AnswerSpan[] {
  const spans: AnswerSpan[] = [];
  messages.forEach(({ role }, i) => {
    if (role !== "assistant") return;
    const at = pieces.findIndex(({ message }) => message === i);
    const fail = (why: string) => new TokenizerError(`The tokens of message ${i + 1} cannot be told: ${why}.`);
    if (at === -1) throw fail("the chat template leaves it out");
    if (pieces.findLastIndex(({ message }) => message === i) !== at) throw fail("the chat template repeats it");
    const before = pieces.slice(0, at);
    const start = boundary(before, ids, tokenizer, "back");
    if (start === undefined) {
      throw fail(`a token joins its start ${show(pieces[at].text.slice(0, 10))} and the template's text before it`);
    }
    const closing = endOfTurn(pieces, at, tokenizer);
    const through = [...pieces.slice(0, at + 1), { text: closing, template: true }];
    const after = pieces[at + 1].text.slice(closing.length);
    const end = boundary(through, ids, tokenizer, "forth", after);
    if (end === undefined) {
      throw fail(`a token joins its end ${show(pieces[at].text.slice(-10))} and the template's text after it`);
    }
    spans.push({ start, end });
  });
  return spans;
}

/** The text of the template that ends a turn: up to the first special token that does not begin turns. */
function endOfTurn(pieces: readonly ChatPiece[], at: number, tokenizer: PlainTokenizer): string {
  const following = pieces[at + 1].text;
  const found = tokenizer.specialsOf(following);
  const opening = new Set(tokenizer.specialsOf(pieces[0].text).map(({ content }) => content));
  // After the last answer everything to the last special token ends the text.
  const closing = at + 2 === pieces.length ? found.at(-1) : found[0];
  if (!closing || opening.has(closing.content)) return "";
  return following.slice(0, closing.end);
}

/**
 * How many ids stand for the first pieces. A token may join the template's white space with the content beside it; it then
 * counts as content.
 */
function boundary(
  pieces: readonly ChatPiece[],
  ids: readonly number[],
  tokenizer: PlainTokenizer,
  direction: "back" | "forth",
  following = "",
): number | undefined {
  const last = pieces[pieces.length - 1];
  const space = direction === "back" ? (/\s*$/.exec(last?.text ?? "")?.[0] ?? "") : (/^\s*/.exec(following)?.[0] ?? "");
  for (let moved = 0; moved <= space.length; moved++) {
    const text =
      direction === "back" ? last?.text.slice(0, last.text.length - moved) : last?.text + space.slice(0, moved);
    const head = tokenizer.encode(last ? [...pieces.slice(0, -1), { ...last, text: text ?? "" }] : []);
    if (head.length <= ids.length && head.every((id, i) => id === ids[i])) return head.length;
  }
  return undefined;
}
