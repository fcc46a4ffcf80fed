import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Engine, type ProgramFunction, program, readParameters, releaseParameters } from "../engine/index.ts";
import type { HostValue, Parameter, Tensor, TensorData } from "../tensor/index.ts";
import type { Optimizer } from "./optimizers/index.ts";

/** Where the optimizer's state is stored between steps, instead of on the device. */
export type OffloadTarget = "host" | "disk";

/** Maximum size of a group of parameters that is updated at once, in bytes. */
const groupBytes = 256 * 1024 ** 2;

/**
 * Applies optimizer steps in parts: once all gradients of a step are computed, the parameters are updated group by group,
 * and a group's optimizer state is on the device only during its update (as in ZeRO-Offload, Ren et al. 2021).
 */
export class OffloadedUpdates {
  readonly #optimizer: Optimizer;
  readonly #groups: readonly (readonly Parameter[])[];
  readonly #norm: ProgramFunction<readonly [], { gradNorm: Tensor }>;
  readonly #updates: readonly ProgramFunction<readonly [Tensor], undefined>[];
  readonly #folder: string | undefined;

  /** @param folder folder for the state; undefined for host memory */
  constructor(optimizer: Optimizer, parameters: readonly Parameter[], engine: Engine, folder: string | undefined) {
    this.#optimizer = optimizer;
    this.#folder = folder;
    this.#groups = inGroups(parameters);
    this.#norm = program(() => ({ gradNorm: optimizer.waitingNorm(parameters) }), {
      engine,
      name: "the gradients' norm",
    });
    this.#updates = this.#groups.map((group, i) =>
      program((gradNorm: Tensor) => optimizer.applyWaiting(group, gradNorm) as undefined, {
        engine,
        name: `part ${i + 1} of ${this.#groups.length} of the optimizer's step`,
      }),
    );
  }

  /** Updates all parameters with the accumulated gradients. @returns their norm */
  async step(): Promise<number> {
    const { gradNorm } = await this.#norm();
    for (const [i, group] of this.#groups.entries()) {
      const slots = group.flatMap((parameter) => Object.values(this.#optimizer.slotsOf(parameter)));
      await this.#load(slots);
      await this.#updates[i](gradNorm);
      await this.#unload(slots);
    }
    this.#optimizer.finishStep(gradNorm.item());
    return gradNorm.item();
  }

  /** Returns the optimizer's state. */
  async state(): Promise<Record<string, HostValue>> {
    const values: Record<string, HostValue> = {};
    for (const [name, holder] of this.#optimizer.stateParameters()) {
      const { dtype, shape } = holder;
      values[name] = holder.pending
        ? (await readParameters([holder]))[0]
        : { dtype, shape, data: await this.#read(holder) };
    }
    return values;
  }

  async release(): Promise<void> {
    await this.#norm.release();
    for (const update of this.#updates) await update.release();
    if (this.#folder) await rm(this.#folder, { recursive: true, force: true });
  }

  /** Loads state from disk; the engine uploads state in host memory. */
  async #load(slots: readonly Parameter[]): Promise<void> {
    for (const holder of slots) if (!holder.pending) holder.give(await this.#read(holder));
  }

  async #unload(slots: readonly Parameter[]): Promise<void> {
    for (const holder of slots) {
      const [{ data }] = await readParameters([holder]);
      await releaseParameters([holder]);
      if (this.#folder) {
        await mkdir(this.#folder, { recursive: true });
        await writeFile(this.#path(holder), new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      } else {
        holder.give(data);
      }
    }
  }

  async #read(holder: Parameter): Promise<TensorData> {
    const { buffer, byteOffset, byteLength } = await readFile(this.#path(holder));
    const copy = new ArrayBuffer(byteLength);
    new Uint8Array(copy).set(new Uint8Array(buffer, byteOffset, byteLength));
    return new Float32Array(copy);
  }

  #path(holder: Parameter): string {
    return join(this.#folder ?? "", `${holder.attributes.name}.f32`);
  }
}

function inGroups(parameters: readonly Parameter[]): Parameter[][] {
  const groups: Parameter[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const parameter of parameters) {
    if (bytes + 4 * parameter.size > groupBytes) {
      groups.push([]);
      bytes = 0;
    }
    groups[groups.length - 1].push(parameter);
    bytes += 4 * parameter.size;
  }
  return groups;
}
