import { expect, test } from "vitest";
import { Tokenizer } from "../text/index.ts";
import { asDataset, chatOf, DataError, Dataset, ignoreIndex, isTokenized, tokenizeRows } from "./index.ts";

const tokenizer = Tokenizer.train(["What is it? A cat."], { vocabSize: 300 });

test("rows in the supported formats become chats that end with the answer", () => {
  const chat = [
    { role: "user", content: "q" },
    { role: "assistant", content: "a" },
  ];
  expect(chatOf({ messages: chat })).toEqual(chat);
  expect(chatOf({ prompt: "q", completion: "a" })).toEqual(chat);
  expect(chatOf({ instruction: "q", output: "a" })).toEqual(chat);
  expect(chatOf({ instruction: "q", input: "more", output: "a" })?.[0].content).toBe("q\n\nmore");
  expect(chatOf({ text: "no chat" })).toBeUndefined();
  expect(() => chatOf({ messages: [{ role: "robot", content: "?" }] })).toThrow(DataError);
});

test("rows become a data set with a digest of their content; a data set is returned unchanged", () => {
  const data = asDataset([{ text: "one" }], "mine");
  expect([data.name, data.length]).toEqual(["mine", 1]);
  expect(asDataset([{ text: "one" }]).digest).toBe(data.digest);
  expect(asDataset(data)).toBe(data);
});

test("labels only the answer of a chat, and every token of a text", () => {
  const [chat] = tokenizeRows([{ prompt: "What is it?", completion: "A cat." }], tokenizer).examples;
  const learned = chat.labels.filter((label) => label !== ignoreIndex);
  expect(tokenizer.decode(learned, { skipSpecialTokens: true }).trim()).toBe("A cat.");
  const tokens = tokenizeRows([{ text: "A cat." }], tokenizer);
  expect(tokens.examples[0].labels).toEqual(tokens.examples[0].inputIds);
  expect([isTokenized(tokens), isTokenized(Dataset.from("d", [{ text: "A" }]))]).toEqual([true, false]);
  expect(tokenizeRows(tokens, tokenizer)).toBe(tokens);
  expect(() => tokenizeRows([{ colour: "red" }], tokenizer)).toThrow(
    "row 1: its columns (colour) have no supported format",
  );
});
