import type { Template } from "@huggingface/jinja";
import type { ChatMessage } from "./message.ts";
import { TokenizerError } from "./message.ts";
import { type Piece, type PlainTokenizer, show } from "./plain.ts";

/** Span of an answer in a chat's ids: from `start` (inclusive) to `end` (exclusive). */
export interface AnswerSpan {
  start: number;
  end: number;
}

/** A chat as token ids. */
export interface EncodedChat {
  ids: number[];
  /** Spans of the assistant's answers, each including the token that ends its turn. Empty if not requested. */
  answers: AnswerSpan[];
}

/** Variables of a template besides the messages. */
export type TemplateValues = Record<string, unknown>;

/** A piece of a rendered chat: text of the template, or the content of a message. */
interface ChatPiece extends Piece {
  /** Index of the message. */
  message?: number;
}

/**
 * Renders and encodes a chat. Special tokens are recognized only in text of the template: a message with the text `<|end|>`
 * stays text.
 * @param wantAnswers return the spans of the answers
 * @throws TokenizerError when the template changes the messages so that this is impossible
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
          ? `${why}, so the tokens of the answers cannot be determined.`
          : `${why}, and message ${typed + 1} contains the text of a special token, which cannot be distinguished from a real one.`,
      );
    }
    return { ids: tokenizer.encode([{ text: rendered, template: true }]), answers: [] };
  }
  const ids = tokenizer.encode(pieces);
  return { ids, answers: wantAnswers ? findAnswers(messages, pieces, ids, tokenizer) : [] };
}

/** Splits a rendered chat into text of the template and contents; undefined when the template changes the contents. */
function split(
  messages: readonly ChatMessage[],
  template: Template,
  values: TemplateValues,
  rendered: string,
): ChatPiece[] | undefined {
  // Renders with placeholders instead of the contents. They consist of unassigned characters.
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
    const fail = (why: string) => new TokenizerError(`The tokens of message ${i + 1} cannot be determined: ${why}.`);
    if (at === -1) throw fail("the chat template omits it");
    if (pieces.findLastIndex(({ message }) => message === i) !== at) throw fail("the chat template repeats it");
    const before = pieces.slice(0, at);
    const start = boundary(before, ids, tokenizer, "back");
    if (start === undefined) {
      throw fail(`a token spans its start ${show(pieces[at].text.slice(0, 10))} and the template's text before it`);
    }
    const closing = endOfTurn(pieces, at, tokenizer);
    const through = [...pieces.slice(0, at + 1), { text: closing, template: true }];
    const after = pieces[at + 1].text.slice(closing.length);
    const end = boundary(through, ids, tokenizer, "forth", after);
    if (end === undefined) {
      throw fail(`a token spans its end ${show(pieces[at].text.slice(-10))} and the template's text after it`);
    }
    spans.push({ start, end });
  });
  return spans;
}

/** Returns the template's text that ends a turn: up to the first special token that does not start a turn. */
function endOfTurn(pieces: readonly ChatPiece[], at: number, tokenizer: PlainTokenizer): string {
  const following = pieces[at + 1].text;
  const specials = tokenizer.specialsOf(following);
  const opening = new Set(tokenizer.specialsOf(pieces[0].text).map(({ content }) => content));
  // After the last answer, everything up to the last special token ends the text.
  const closing = at + 2 === pieces.length ? specials.at(-1) : specials[0];
  if (!closing || opening.has(closing.content)) return "";
  return following.slice(0, closing.end);
}

/**
 * Returns the number of ids of the first pieces. A token may span the template's whitespace and the adjacent content; it then
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
