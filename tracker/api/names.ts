import { randomInt } from "node:crypto";

const QUALITIES =
  "able brave bright brisk calm clear clever cool deft eager early fair fine fond glad grand keen kind light lively lucid mellow merry mild neat nimble noble plain proud quick quiet rapid ready sharp silent smart smooth snug solid sound spry steady still stout sunny swift tidy true warm wise".split(
    " ",
  );
const THINGS =
  "alder aspen badger beech birch brook cedar cliff clover cove crane dune elm falcon fern finch fjord fox glade grove harbor hare hawk heron hill lake lark linden lynx maple marsh meadow mesa moor oak otter owl pine plover pond reed ridge river robin shore spruce stone swan thrush vale willow wren".split(
    " ",
  );

const pick = (words: string[]): string => words[randomInt(words.length)] ?? "run";

/** Returns a random name for a run without one: easy to say, and unlikely to repeat among a hundred runs. */
export const randomRunName = (): string => `${pick(QUALITIES)}-${pick(THINGS)}-${randomInt(1000)}`;
