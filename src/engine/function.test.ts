import { inspect } from "node:util";
import { afterEach, describe, expect, test, vi } from "vitest";
import { assign, input, type Parameter, parameter, readCondition, type Tensor, tensor } from "../tensor/index.ts";
import { ProgramError, program, sharedEngine } from "./index.ts";

const zero = (shape: readonly number[]) => new Float32Array(shape.reduce((a, b) => a * b, 1));

function counter(): Parameter {
  const made = parameter([], zero);
  made.set([0]);
  return made;
}

afterEach(() => vi.restoreAllMocks());

describe("program", () => {
  test("is built once for each combination of shapes, and reports rebuilds", async () => {
    const said = vi.spyOn(process.stderr, "write").mockReturnValue(true);
    let built = 0;
    const double = program(
      (x: Tensor) => {
        built++;
        return x.mul(2);
      },
      { name: "double" },
    );
    expect(await (await double([1, 2])).data()).toEqual(Float32Array.of(2, 4));
    expect(await (await double(Float32Array.of(3, 4))).data()).toEqual(Float32Array.of(6, 8));
    expect(built).toBe(1);
    expect(said).not.toHaveBeenCalled();
    expect((await double(5)).item()).toBe(10);
    expect(said).toHaveBeenCalledWith(
      "double: compiled again for float32 [] (before: float32 [2]), 2 shapes so far.\n",
    );
    expect([built, double.compilations]).toEqual([2, 2]);
  });

  test("returns what the function returns: a tensor, an object or array of tensors, or nothing", async () => {
    const named = program((x: Tensor) => ({ sum: x.sum(), most: x.max() }));
    const { sum, most } = await named([1, 5, 2]);
    expect([sum.item(), most.item()]).toEqual([8, 5]);
    const listed = program((x: Tensor) => [x.sum(), x.min()]);
    expect((await listed([1, 5, 2])).map((t) => t.item())).toEqual([8, 1]);
    const wrong = program((x: Tensor) => ({ sum: x.sum(), rank: x.shape.length as unknown as Tensor }));
    await expect(wrong([1])).rejects.toThrow("a program must return tensors, but rank is number");
    const late = program(async (x: Tensor) => x.sum());
    await expect(late([1])).rejects.toThrow("the function must build its graph synchronously, but it returned");
  });

  test("accepts lazy tensors and returns tensors that can be used further", async () => {
    const square = program((x: Tensor) => x.mul(x));
    const first = await square(tensor([1, 2]).add(1));
    expect(await (await square(first.add(1))).array()).toEqual([25, 100]);
  });

  test("an assigned parameter has its new value in all programs and when it is read", async () => {
    const total = counter();
    const add = program((x: Tensor) => {
      assign(total, total.add(x.sum()));
      return { before: total };
    });
    const read = program(() => total.mul(10));
    expect((await add([1, 2])).before.item()).toBe(0);
    expect((await add([3, 4])).before.item()).toBe(3);
    expect((await read()).item()).toBe(100);
    expect(await total.data()).toEqual(Float32Array.of(10));
    total.set([7]);
    expect((await read()).item()).toBe(70);
    expect(await total.mul(2).data()).toEqual(Float32Array.of(14));
  });

  test("a parameter without a value and an assignment outside a program cause helpful errors", async () => {
    const empty = parameter([2], zero);
    await expect(empty.sum().data()).rejects.toThrow("has no value: call model.initialize(seed)");
    expect(() => assign(counter(), tensor(1))).toThrow("assign: works only inside a program");
    expect(() => empty.set([1])).toThrow("of shape [2] needs 2 values, got 1");
    const wrong = program(() => assign(empty, tensor(1)));
    await expect(wrong()).rejects.toThrow("assign: a value of float32 [] does not fit");
  });

  test("an input with a source is read at each run", async () => {
    let now = 1;
    const rate = input("rate", [], "float32", () => Float32Array.of(now));
    const scaled = program((x: Tensor) => x.mul(rate));
    expect((await scaled(10)).item()).toBe(10);
    now = 3;
    expect((await scaled(10)).item()).toBe(30);
  });

  test("values that a graph depends on are checked at each call, and both graphs are cached", async () => {
    let doubled = true;
    const apply = program((x: Tensor) => (readCondition(() => doubled) ? x.mul(2) : x));
    expect((await apply(1)).item()).toBe(2);
    doubled = false;
    expect((await apply(1)).item()).toBe(1);
    doubled = true;
    expect((await apply(1)).item()).toBe(2);
    expect(apply.compilations).toBe(2);
  });
});

describe("the display of a tensor", () => {
  const show = async (x: Tensor) => {
    const display = (x as unknown as Record<symbol, () => Promise<Record<string, string>>>)[
      Symbol.for("Jupyter.display")
    ];
    return display.call(x);
  };

  test("shows shape, dtype, device, statistics, the first values and a histogram", async () => {
    const bundle = await show(
      tensor(
        Float32Array.from({ length: 200 }, (_, i) => i / 8),
        [2, 10, 10],
      ),
    );
    const [title, figures, place, first, ...rest] = bundle["text/plain"].split("\n");
    expect(title).toMatch(/^float32 \[2, 10, 10\] · 800 B · (cpu|webgpu) \(.+\)$/);
    expect(figures).toBe("min 0 · mean 12.44 · max 24.88");
    expect(place).toBe("[0, :, :]:");
    expect(first.trim().split(/ +/)).toEqual(["0", "0.125", "0.25", "0.375", "0.5", "0.625", "0.75", "0.875", "…"]);
    expect(rest).toHaveLength(6);
    expect(bundle["text/html"].match(/<span/g)).toHaveLength(32);
  });

  test("counts true values and NaNs", async () => {
    expect((await show(tensor([true, false, true])))["text/plain"]).toContain("2 of 3 true");
    expect((await show(tensor([1, Number.NaN, 3])))["text/plain"]).toContain("min 1 · mean 2 · max 3 · 1 not finite");
    expect((await show(tensor(7)))["text/plain"]).toMatch(/^float32 \[\] · 4 B · .*\n7$/);
  });

  test("is a summary in console.log", () => {
    expect(inspect(tensor([1, 2]).add(1))).toBe("Tensor(float32 [2], add)");
    expect(inspect(tensor([1, 2]))).toBe("Tensor(float32 [2], constant 1, 2)");
  });
});

describe("a function that cannot be a program", () => {
  test("is rejected by name if it returns no tensors or is async", async () => {
    const text = program(() => ({ note: "text" }), { name: "noted" });
    await expect(text()).rejects.toThrow(new ProgramError("noted: a program must return tensors, but note is string."));
    const waiting = program(async (x: Tensor) => x.add(1), { name: "waiting" });
    await expect(waiting(tensor([1]))).rejects.toThrow("waiting: the function must build its graph synchronously");
  });
});

test("there is one shared engine for each device and number of threads", async () => {
  const [one, same, other] = await Promise.all([
    sharedEngine({ device: "cpu", threads: 1 }),
    sharedEngine({ device: "cpu", threads: 1 }),
    sharedEngine({ device: "interpreter" }),
  ]);
  expect(same).toBe(one);
  expect([one.device.name, one.device.threads, other.device.name]).toEqual(["cpu", 1, "interpreter"]);
});
