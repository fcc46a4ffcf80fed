import { mkdtemp, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { faultPath } from "../../../tests/faults.ts";
import { fromFloat16, toBfloat16, toFloat16 } from "../../tensor/index.ts";
import {
  decodeSafetensors,
  encodeSafetensors,
  ModelFiles,
  readSafetensors,
  SafetensorsFile,
  type StoredTensor,
  type TensorSource,
  toFloat32,
  writeSafetensors,
  writeShards,
} from "./index.ts";

const scratch = await mkdtemp(join(tmpdir(), "anneal-safetensors-"));
afterAll(() => rm(scratch, { recursive: true }));

/** A file with a header as it is given, be it right or wrong. */
function withHeader(header: unknown, dataBytes: number, length?: bigint): Uint8Array {
  const json = new TextEncoder().encode(typeof header === "string" ? header : JSON.stringify(header));
  const file = new Uint8Array(8 + json.length + dataBytes);
  new DataView(file.buffer).setBigUint64(0, length ?? BigInt(json.length), true);
  file.set(json, 8);
  return file;
}

const source = (name: string, { dtype, shape, data }: StoredTensor): TensorSource => ({
  name,
  dtype,
  shape,
  read: async () => data,
});

const f32 = (from: number, to: number, shape = [(to - from) / 4]) => ({
  dtype: "F32",
  shape,
  data_offsets: [from, to],
});

describe("an inconsistent header causes a one-line error with the names of file and tensor", () => {
  const cases: [string, Uint8Array, string][] = [
    ["an empty file", new Uint8Array(0), "it has only 0 bytes"],
    ["a length over the file", withHeader("{}", 0, 3n), "its header of 3 bytes is truncated"],
    ["a length over the format's limit", withHeader("{}", 0, 2n ** 63n), "the format allows 100000000"],
    ["no JSON", withHeader("{oops", 0), "its header is not valid JSON"],
    ["bytes that are no UTF-8", withHeader("{}", 0).fill(0xff, 9, 10), "its header is not valid JSON"],
    ["null", withHeader("null", 0), "its header is null, not an object"],
    ["a list", withHeader("[]", 0), "its header is [], not an object"],
    ["an entry that is null", withHeader({ a: null }, 0), 'tensor "a" is null, not an object'],
    ["notes that are no text", withHeader({ __metadata__: { x: 1 } }, 0), '__metadata__ has 1 for "x", not a string'],
    ["notes that are a list", withHeader({ __metadata__: [] }, 0), "__metadata__ is [], not an object"],
    ["two tensors of one name", withHeader('{"a":{},"\\u0061":{}}', 0), 'its header contains "a" twice'],
    ["a field twice", withHeader('{"a":{"dtype":"F32","dtype":"F16"}}', 0), 'its header contains "dtype" twice'],
    [
      "an unknown dtype",
      withHeader({ a: { ...f32(0, 4), dtype: "F8_E4M3" } }, 4),
      'dtype "F8_E4M3", which is not supported; supported: F32, F16, BF16',
    ],
    [
      "a dtype that is a property of objects",
      withHeader({ a: { ...f32(0, 4), dtype: "toString" } }, 4),
      "which is not supported",
    ],
    ["no dtype", withHeader({ a: { shape: [1], data_offsets: [0, 4] } }, 4), "has dtype missing, not a string"],
    ["a shape with a fraction", withHeader({ a: f32(0, 4, [0.5]) }, 4), 'tensor "a" has shape [0.5]'],
    ["a negative size", withHeader({ a: f32(0, 4, [-1, -1]) }, 4), 'tensor "a" has shape [-1,-1]'],
    ["a size beyond exact numbers", withHeader({ a: f32(0, 4, [2 ** 53]) }, 4), 'tensor "a" has shape'],
    ["a product beyond exact numbers", withHeader({ a: f32(0, 4, [2 ** 40, 2 ** 40]) }, 4), "which is too large"],
    ["a shape that is no list", withHeader({ a: { ...f32(0, 4), shape: 1 } }, 4), 'tensor "a" has shape 1'],
    ["negative offsets", withHeader({ a: f32(-4, 0) }, 4), 'tensor "a" has offsets [-4,0]'],
    [
      "three offsets",
      withHeader({ a: { ...f32(0, 4), data_offsets: [0, 4, 8] } }, 4),
      'tensor "a" has offsets [0,4,8]',
    ],
    ["reversed offsets", withHeader({ a: f32(4, 0, [1]) }, 4), "which end before they start"],
    ["offsets beyond the file", withHeader({ a: f32(0, 8) }, 4), 'tensor "a" ends at byte'],
    [
      "a size that does not fit the shape",
      withHeader({ a: f32(0, 8, [3]) }, 8),
      "has 8 bytes, but shape [3] of F32 needs 12",
    ],
    ["an overlap", withHeader({ a: f32(0, 8), b: f32(4, 12) }, 12), 'tensor "b" overlaps tensor "a"'],
    [
      "a gap at the start",
      withHeader({ a: f32(4, 8) }, 8),
      '4 bytes between the header and tensor "a" belong to no tensor',
    ],
    ["a gap", withHeader({ a: f32(0, 4), b: f32(8, 12) }, 12), '4 bytes between tensor "a" and tensor "b"'],
    ["bytes at the end", withHeader({ a: f32(0, 4) }, 7), '3 bytes after tensor "a" belong to no tensor'],
  ];

  test.each(cases)("%s", async (_, bytes, message) => {
    const path = join(scratch, "lie.safetensors");
    await writeFile(path, bytes);
    for (const attempt of [() => SafetensorsFile.open(path), async () => decodeSafetensors(bytes, path)]) {
      const error = await attempt().then(
        () => undefined,
        (e: Error) => e,
      );
      expect(error).toMatchObject({ name: "ModelError" });
      expect(error?.message).toContain(message);
      expect(error?.message).toContain("lie.safetensors");
      expect(error?.message).not.toContain("\n");
    }
  });

  test("samples: a null header, and overlapping tensors", async () => {
    await expect(readSafetensors(faultPath("tiny-safetensors-header-null/model.safetensors"))).rejects.toThrow(
      "its header is null",
    );
    await expect(readSafetensors(faultPath("tiny-safetensors-overlapping/model.safetensors"))).rejects.toThrow(
      /tensor "model.*" overlaps tensor "model/,
    );
  });

  test("all names are kept, also numbers and __proto__", () => {
    const tensors = Object.fromEntries(
      ["2", "1", "__proto__x", 'a"b\\', "constructor"].map((name, i) => [
        name,
        { dtype: "int32" as const, shape: [1], data: Int32Array.of(i) },
      ]),
    );
    const found = decodeSafetensors(encodeSafetensors(tensors), "names");
    for (const [name, { data }] of Object.entries(tensors)) expect(found[name].data).toEqual(data);
    const proto = withHeader(`{"__proto__":${JSON.stringify(f32(0, 4))}}`, 4);
    expect(Object.keys(decodeSafetensors(proto, "proto"))).toEqual(["__proto__"]);
  });
});

describe("reading and writing single tensors", () => {
  const tensors: Record<string, StoredTensor> = {
    "z.float32": { dtype: "float32", shape: [2, 2], data: Float32Array.of(1, -0, Number.NaN, 1e-40) },
    "y.float16": { dtype: "float16", shape: [3], data: Uint16Array.of(0x3c00, 0x7e01, 0x0001) },
    "x.bfloat16": { dtype: "bfloat16", shape: [1, 1], data: Uint16Array.of(0x3f80) },
    "w.int8": { dtype: "int8", shape: [3], data: Int8Array.of(-128, 0, 127) },
    "v.uint8": { dtype: "uint8", shape: [1], data: Uint8Array.of(255) },
    "u.int32": { dtype: "int32", shape: [], data: Int32Array.of(-7) },
    "t.int64": { dtype: "int64", shape: [2], data: BigInt64Array.of(2n ** 62n, -1n) },
    "s.bool": { dtype: "bool", shape: [2], data: Uint8Array.of(1, 0) },
    "r.empty": { dtype: "float32", shape: [0, 4], data: new Float32Array(0) },
  };

  test("every dtype round-trips bit by bit, at any offset", async () => {
    const path = join(scratch, "all.safetensors");
    async function* coming() {
      for (const [name, tensor] of Object.entries(tensors)) yield source(name, tensor);
    }
    const { bytes } = await writeSafetensors(path, coming(), { metadata: { format: "pt", note: "ü" } });
    expect((await readFile(path)).length).toBe(bytes);
    const file = await SafetensorsFile.open(path);
    expect(file.metadata).toEqual({ format: "pt", note: "ü" });
    expect([...file.tensors.keys()]).toEqual(Object.keys(tensors).sort());
    for (const [name, tensor] of Object.entries(tensors)) {
      const found = await file.read(name);
      expect(found).toEqual(tensor);
      expect(found.data.buffer.byteLength).toBe(found.data.byteLength);
      const { offset, dtype } = file.tensors.get(name) ?? { offset: -1, dtype: "bool" };
      expect(offset % (dtype === "int64" ? 8 : dtype === "float32" ? 4 : 1)).toBe(0);
    }
    await expect(file.read("nothing")).rejects.toThrow('all.safetensors has no tensor "nothing".');
    await truncate(path, bytes - 1);
    await expect(Promise.all(Object.keys(tensors).map((name) => file.read(name)))).rejects.toThrow("it ends at byte");
    await file.close();
  });

  test("all 65 536 16-bit floats convert to float32", () => {
    const data = Uint16Array.from({ length: 65_536 }, (_, i) => i);
    const bits = Uint32Array.from(data, (half) => half << 16);
    expect(toFloat32({ dtype: "bfloat16", data })).toEqual(new Float32Array(bits.buffer));
    for (const part of [data.subarray(1, 8), data.subarray(2, 7), data.subarray(0, 0)]) {
      const halves = Uint32Array.from(part, (half) => half << 16);
      expect(toFloat32({ dtype: "bfloat16", data: part })).toEqual(new Float32Array(halves.buffer));
    }
    expect(toFloat32({ dtype: "float16", data })).toEqual(Float32Array.from(data, fromFloat16));
  });

  test("float32 numbers are rounded to the requested 16-bit dtype", async () => {
    const numbers = Float32Array.of(1, 1.003, -3e38, 3.4e38, Number.NaN, 1e-6, Number.POSITIVE_INFINITY);
    for (const [dtype, round] of [
      ["bfloat16", toBfloat16],
      ["float16", toFloat16],
    ] as const) {
      const folder = await mkdtemp(join(scratch, "half-"));
      await writeShards(folder, [source("a", { dtype: "float32", shape: [7], data: numbers })], { dtype });
      const file = await SafetensorsFile.open(join(folder, "model.safetensors"));
      expect((await file.read("a")).data).toEqual(Uint16Array.from(numbers, round));
      await file.close();
    }
  });

  test("data of the wrong size or type and duplicate names are rejected", async () => {
    const one = source("a", { dtype: "float32", shape: [2], data: Float32Array.of(1) });
    const path = join(scratch, "wrong.safetensors");
    await expect(writeSafetensors(path, [one])).rejects.toThrow("Tensor a has 4 bytes, but its shape needs 8.");
    await expect(writeSafetensors(path, [one, one])).rejects.toThrow("Two tensors are named a.");
    const odd = source("b", { dtype: "int32", shape: [1], data: Float32Array.of(1) });
    await expect(writeSafetensors(path, [odd])).rejects.toThrow("dtype int32 must be a Int32Array, not a Float32Array");
  });
});

describe("a model in several files", () => {
  test("transformers' sample is read: the same bfloat16 numbers as in one file", async () => {
    const shards = await ModelFiles.open(faultPath("tiny-sharded-bf16"));
    const whole = await ModelFiles.open(faultPath("tiny-base"));
    expect(shards.names().sort()).toEqual(whole.names().sort());
    for (const name of whole.names()) {
      expect(shards.info(name)).toMatchObject({ dtype: "bfloat16", shape: whole.info(name)?.shape });
      const expected = toFloat32(await whole.read(name));
      expect(toFloat32(await shards.read(name)), name).toEqual(
        toFloat32({ dtype: "bfloat16", data: Uint16Array.from(expected, toBfloat16) }),
      );
    }
    await shards.close();
    await whole.close();
  });

  test("shards are named as in transformers, and round-trip", async () => {
    const folder = await mkdtemp(join(scratch, "shards-"));
    const whole = await ModelFiles.open(faultPath("tiny-sharded-bf16"));
    const sources = whole.names().map((name): TensorSource => {
      const { dtype, shape } = whole.info(name) ?? { dtype: "bool", shape: [] };
      return { name, dtype, shape, read: async () => (await whole.read(name)).data };
    });
    const written = await writeShards(folder, sources, { maxShardSize: 40_000 });
    expect(Object.keys(written)).toEqual([
      "model-00001-of-00003.safetensors",
      "model-00002-of-00003.safetensors",
      "model-00003-of-00003.safetensors",
      "model.safetensors.index.json",
    ]);
    const index = JSON.parse(await readFile(join(folder, "model.safetensors.index.json"), "utf8"));
    const theirs = JSON.parse(await readFile(join(whole.folder, "model.safetensors.index.json"), "utf8"));
    expect(index.metadata).toEqual(theirs.metadata);
    expect(Object.keys(index.weight_map)).toEqual(Object.keys(theirs.weight_map).sort());
    const again = await ModelFiles.open(folder);
    for (const name of whole.names()) expect(await again.read(name)).toEqual(await whole.read(name));
    await again.close();
    await whole.close();
  });

  test("an index that does not match its files is rejected by name", async () => {
    const folder = await mkdtemp(join(scratch, "index-"));
    const one = { dtype: "float32", shape: [1], data: Float32Array.of(1) } satisfies StoredTensor;
    await writeSafetensors(join(folder, "s.safetensors"), [source("a", one), source("b", one)]);
    const index = (value: unknown) => writeFile(join(folder, "model.safetensors.index.json"), JSON.stringify(value));
    const cases: [unknown, string][] = [
      [{ weight_map: { a: "s.safetensors", b: "t.safetensors" } }, "refers to t.safetensors, but"],
      [
        { weight_map: { a: "s.safetensors", b: "s.safetensors", c: "s.safetensors" } },
        "c is in s.safetensors, but it is not",
      ],
      [{ weight_map: { a: "s.safetensors" } }, "s.safetensors contains b, but"],
      [{ weight_map: { a: "../s.safetensors" } }, '"../s.safetensors", which is not the name of a .safetensors file'],
      [{ weight_map: { a: "x\\s.safetensors" } }, "which is not the name of"],
      [{ weight_map: { a: "/etc/passwd" } }, "which is not the name of"],
      [{ weight_map: { a: 1 } }, 'the file of tensor "a" is 1'],
      [{ weight_map: {} }, "weight_map is empty"],
      [{ weight_map: null }, "has no weight_map"],
      [[], "has no weight_map"],
    ];
    for (const [content, message] of cases) {
      await index(content);
      await expect(ModelFiles.open(folder)).rejects.toThrow(message);
    }
    await expect(ModelFiles.open(scratch)).rejects.toThrow(
      "has neither model.safetensors nor model.safetensors.index.json",
    );
  });
});
