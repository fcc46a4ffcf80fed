import { describe, expect, test } from "vitest";
import { referenceJson, referencePath } from "../../tests/reference.ts";
import { type ChatMessage, Tokenizer, TokenizerError } from "./index.ts";

interface Rendered {
  text: string;
  ids: number[];
}
interface Encodings {
  strings: { text: string; ids: number[]; decoded: string; decoded_skip_special: string }[];
  chats: { messages: ChatMessage[]; generation_prompt: Rendered; full: Rendered }[];
}

describe("reference: the tokenizer of Phi-3", async () => {
  const tokenizer = await Tokenizer.load(referencePath("tokenizer"));
  const { strings, chats } = referenceJson<Encodings>("tokenizer/encodings.json");

  test.each(strings)("$text", ({ text, ids, decoded, decoded_skip_special }) => {
    expect(tokenizer.encode(text)).toEqual(ids);
    expect(tokenizer.decode(ids)).toBe(decoded);
    expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe(decoded_skip_special);
  });

  test.each(chats)("a chat of $messages.length messages", ({ messages, generation_prompt, full }) => {
    for (const [expected, addGenerationPrompt] of [
      [generation_prompt, true],
      [full, false],
    ] as const) {
      const text = tokenizer.renderChat(messages, { addGenerationPrompt });
      expect(text).toBe(expected.text);
      expect(tokenizer.encode(text)).toEqual(expected.ids);
    }
  });
});

describe("training a byte-level BPE tokenizer", () => {
  const texts = ["the cat sat on the mat", "the hat of the cat — naïve façade 漢字 🙂", "  two  spaces\n\nand lines"];
  const tokenizer = Tokenizer.train(texts, { vocabSize: 300 });

  test("any text round-trips, also if it was not in the training data", () => {
    for (const text of [...texts, "", " ", "never seen: ∑ß\t<|no special|>\u0000"]) {
      expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
    }
  });

  test("frequent words become single tokens", () => {
    expect(tokenizer.encode(" the cat")).toHaveLength(2);
  });

  test("special tokens are not split, and chats use them", () => {
    const chat = tokenizer.renderChat([{ role: "user", content: "hi" }], { addGenerationPrompt: true });
    expect(chat).toBe("<|user|>\nhi<|end|>\n<|assistant|>\n");
    expect(tokenizer.encode("<|end|>")).toEqual([tokenizer.tokenId("<|end|>")]);
    expect(tokenizer.stopTokenIds).toHaveLength(2);
  });

  test("the same texts give the same tokenizer", () => {
    expect(Tokenizer.train(texts, { vocabSize: 300 }).digest()).toBe(tokenizer.digest());
    expect(() => Tokenizer.train(texts, { vocabSize: 100 })).toThrow("vocabSize must be an integer of at least 261");
  });
});

test("a folder without a tokenizer causes a clear error", async () => {
  const loaded = await Tokenizer.load(referencePath("phi3")).catch((error: unknown) => error);
  expect(loaded).toBeInstanceOf(TokenizerError);
  expect(loaded).toMatchObject({ message: expect.stringContaining("There is no tokenizer.json in") });
});
