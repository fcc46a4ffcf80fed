import { spawn } from "node:child_process";

/** Metrics of one GPU, over all processes. */
export interface CardFigures {
  index: number;
  /** Utilization in percent. */
  load?: number;
  /** Used memory in MiB. */
  memory?: number;
  /** Watts. */
  power?: number;
}

/** One process's use of a GPU. */
export interface CardProcess {
  index: number;
  pid: number;
  /** Percent of the GPU's compute units, over about the last second. */
  load?: number;
  /** MiB. */
  memory?: number;
}

/** Report of a vendor's tool: GPUs and the processes that use them. */
export interface GpuReport {
  cards: CardFigures[];
  /** Undefined when the system does not report processes. */
  processes?: CardProcess[];
}

/** Timeout for a tool in milliseconds; one that does not respond is most likely broken, with its driver. */
const toolTimeout = 5000;

const number = (text: string | undefined): number | undefined => {
  const value = Number.parseFloat(text ?? "");
  return Number.isFinite(value) ? value : undefined;
};
const defined = <T extends object>(fields: T): T =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as T;

/** Parses `nvidia-smi --query-gpu=index,utilization.gpu,memory.used,power.draw --format=csv,noheader,nounits`. */
export function parseNvidiaCards(text: string): CardFigures[] {
  return text
    .split("\n")
    .map((line) => line.split(",").map((field) => field.trim()))
    .filter(([index]) => /^\d+$/.test(index))
    .map(([index, load, memory, power]) =>
      defined({ index: Number(index), load: number(load), memory: number(memory), power: number(power) }),
    );
}

/** Parses `nvidia-smi pmon -c 1 -s um`, whose columns differ between versions. */
export function parseNvidiaProcesses(text: string): CardProcess[] {
  const lines = text.split("\n").map((line) => line.trim());
  const columns = (lines.find((line) => /^#\s*gpu\b/.test(line)) ?? "").replace(/^#\s*/, "").split(/\s+/);
  const at = (fields: string[], name: string) => number(fields[columns.indexOf(name)]);
  return lines
    .filter((line) => /^\d/.test(line))
    .flatMap((line) => {
      const fields = line.split(/\s+/);
      const [index, pid] = [at(fields, "gpu"), at(fields, "pid")];
      if (index === undefined || pid === undefined) return [];
      return [defined({ index, pid, load: at(fields, "sm"), memory: at(fields, "fb") })];
    });
}

/** Parses `rocm-smi --showuse --showmeminfo vram --showpower --showpids --json`; field names differ between versions. */
export function parseRocm(text: string): GpuReport {
  const all = JSON.parse(text) as Record<string, Record<string, string>>;
  const cards = Object.entries(all).flatMap(([name, fields]) => {
    const index = /^card(\d+)$/.exec(name)?.[1];
    if (index === undefined) return [];
    const field = (pattern: RegExp) => number(Object.entries(fields).find(([key]) => pattern.test(key))?.[1]);
    const used = field(/^VRAM Total Used Memory \(B\)$/);
    return [
      defined({
        index: Number(index),
        load: field(/^GPU use \(%\)$/),
        memory: used === undefined ? undefined : used / 2 ** 20,
        power: field(/Graphics Package Power \(W\)$/),
      }),
    ];
  });
  // "PID1234": "name, number of cards, bytes of memory, ...": without the indices of the cards.
  const processes = Object.entries(all.system ?? {}).flatMap(([key, value]) => {
    const pid = /^PID(\d+)$/.exec(key)?.[1];
    const bytes = number(value.split(",")[2]?.trim());
    if (pid === undefined || bytes === undefined || cards.length === 0) return [];
    return [{ index: cards[0].index, pid: Number(pid), memory: bytes / 2 ** 20 }];
  });
  return { cards, processes };
}

/** Parses `ioreg -r -c IOAccelerator -d 1`, which does not report processes without root. */
export function parseApple(text: string): GpuReport {
  const cards = [...text.matchAll(/"PerformanceStatistics" = \{([^}]*)\}/g)].map(([, fields], index) => {
    const field = (name: string) => number(new RegExp(`"${name}"=(\\d+)`).exec(fields)?.[1]);
    const bytes = field("In use system memory");
    return defined({
      index,
      load: field("Device Utilization %"),
      memory: bytes === undefined ? undefined : bytes / 2 ** 20,
    });
  });
  return { cards };
}

/**
 * Returns the metrics to log for one process: its own use, and the total use of the GPUs that it runs on (with `card` in the
 * name). GPUs that only other processes use are skipped.
 */
export function gpuFigures({ cards, processes }: GpuReport, pid: number): Record<string, number> {
  const ownProcesses = processes?.filter((process) => process.pid === pid) ?? [];
  const used = cards.filter(({ index, memory = 0 }) => {
    if (processes === undefined) return true;
    if (ownProcesses.some((process) => process.index === index)) return true;
    // In a container, processes may not be listed even when they use the GPU.
    return memory > 1024 && processes.every((process) => process.index !== index);
  });
  const sum = (values: (number | undefined)[]) =>
    values.some((value) => value !== undefined)
      ? values.reduce<number>((all, value) => all + (value ?? 0), 0)
      : undefined;
  return defined({
    "system/gpu_percent": sum(ownProcesses.map(({ load }) => load)),
    "system/gpu_memory_mb": sum(ownProcesses.map(({ memory }) => memory)),
    "system/gpu_power_w": sum(used.map(({ power }) => power)),
    ...Object.fromEntries(
      used.flatMap(({ index, load, memory }) => [
        [`system/gpu_${index}_card_percent`, load],
        [`system/gpu_${index}_card_memory_mb`, memory],
      ]),
    ),
  }) as Record<string, number>;
}

/** Runs a tool. After the time limit it is killed and the promise is rejected. */
export function runTool(tool: string, args: readonly string[], limit = toolTimeout): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(tool, args, { stdio: ["ignore", "pipe", "ignore"] });
    let text = "";
    const timer = setTimeout(() => {
      child.kill("SIGKILL");
      child.stdout.destroy();
      child.unref();
      reject(new Error(`${tool} did not respond within ${limit} ms.`));
    }, limit);
    child.stdout.setEncoding("utf8").on("data", (part: string) => {
      text += part;
    });
    child.on("error", (error) => {
      clearTimeout(timer);
      reject(error);
    });
    child.on("close", (code) => {
      clearTimeout(timer);
      if (code === 0) resolve(text);
      else reject(new Error(`${tool} exited with code ${code}.`));
    });
  });
}

const sources: Readonly<Record<string, () => Promise<GpuReport>>> = {
  nvidia: async () => {
    const fields = "--query-gpu=index,utilization.gpu,memory.used,power.draw";
    const cards = parseNvidiaCards(await runTool("nvidia-smi", [fields, "--format=csv,noheader,nounits"]));
    // Some GPUs, such as MIG partitions, do not report processes.
    const processes = await runTool("nvidia-smi", ["pmon", "-c", "1", "-s", "um"]).then(
      parseNvidiaProcesses,
      () => undefined,
    );
    return { cards, ...(processes ? { processes } : {}) };
  },
  amd: async () =>
    parseRocm(await runTool("rocm-smi", ["--showuse", "--showmeminfo", "vram", "--showpower", "--showpids", "--json"])),
  apple: async () => {
    if (process.platform !== "darwin") throw new Error("This is not a Mac.");
    return parseApple(await runTool("ioreg", ["-r", "-c", "IOAccelerator", "-d", "1"]));
  },
};

/** Samples the available GPUs; a source that has failed is not tried again. */
export class GpuWatch {
  #sources = Object.values(sources);

  /** Returns {@link gpuFigures} of this process. */
  async sample(): Promise<Record<string, number>> {
    const figures: Record<string, number> = {};
    for (const source of [...this.#sources]) {
      try {
        Object.assign(figures, gpuFigures(await source(), process.pid));
      } catch {
        this.#sources = this.#sources.filter((other) => other !== source);
      }
    }
    return figures;
  }
}
