import { expect, test } from "vitest";
import { notebookText, openedNotebook } from "./notebook-file.ts";

/** As nbformat 5.10 writes it. */
const written = `{
 "cells": [
  {
   "attachments": {
    "a.svg": {
     "image/svg+xml": [
      "<svg>\\n",
      "</svg>"
     ]
    }
   },
   "cell_type": "markdown",
   "id": "a",
   "metadata": {},
   "source": []
  },
  {
   "cell_type": "code",
   "execution_count": 1,
   "id": "b",
   "metadata": {
    "1": 1,
    "10": 1e-05,
    "2": 0.5
   },
   "outputs": [
    {
     "name": "stdout",
     "output_type": "stream",
     "text": [
      "é \\"😀\\"\\n",
      "\\r\\n",
      "x\\u2028",
      "y"
     ]
    },
    {
     "data": {
      "application/json": {
       "z": "a\\nb"
      },
      "image/png": "QUJD\\n",
      "text/plain": [
       "1\\n",
       "2"
      ]
     },
     "metadata": {},
     "output_type": "display_data"
    }
   ],
   "source": [
    "let a = 1;\\n",
    "a"
   ]
  }
 ],
 "metadata": {
  "kernelspec": {
   "display_name": "TypeScript",
   "language": "typescript",
   "name": "anneal"
  },
  "language_info": {
   "name": "typescript",
   "version": "4.0.0"
  }
 },
 "nbformat": 4,
 "nbformat_minor": 5
}
`.replaceAll("\\u2028", "\u2028");

interface File {
  cells: Record<string, unknown>[];
  metadata: Record<string, unknown>;
}

/** What a page holds of a file: texts in one piece, and the kernel's own metadata. */
function inPage(text: string): File {
  const join = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.every((each) => typeof each === "string") ? value.join("") : value.map(join);
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, join(each)]));
  };
  return join(openedNotebook(JSON.parse(text))) as File;
}

test("a notebook is written as nbformat writes it", () => {
  const content = JSON.parse(written) as File;
  expect(notebookText({ ...inPage(written), metadata: content.metadata })).toBe(written);
});

test("what was not changed stays to the byte, however it is written", () => {
  for (const text of [written, JSON.stringify(JSON.parse(written)), JSON.stringify(JSON.parse(written), null, 4)]) {
    expect(notebookText(inPage(text), text)).toBe(text);
  }
});

test("a change of a line is a change of that line: a kernel's newer name and version are no change", () => {
  const page = inPage(written);
  page.cells[1].source = "let a = 2;\na";
  expect(notebookText(page, written)).toBe(written.replace("let a = 1;", "let a = 2;"));
});

test("another kernel's notebook is opened as it is", () => {
  const python = { cells: [], metadata: { kernelspec: { name: "python3" } } };
  expect(openedNotebook(python)).toEqual(python);
});
