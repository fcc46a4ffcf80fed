import { spawn } from "node:child_process";

/** Figures of one graphics card, everybody's use of it together. */
export interface CardFigures {
  index: number;
  /** Percent of the time that it worked. */
  load?: number;
  /** MiB in use. */
  memory?: number;
  /** Watts. */
  power?: number;
}

/** What one process has of a card. */
export interface CardProcess {
  index: number;
  pid: number;
  /** Percent of the card's compute units, over the last second or so. */
  load?: number;
  /** MiB. */
  memory?: number;
}

/** What a vendor's tool tells: its cards, and who works on them. */
export interface GpuReport {
  cards: CardFigures[];
  /** Undefined where the system does not tell who works on a card. */
  processes?: CardProcess[];
}

/** A tool that answers in no time has broken down, with its driver most likely. Milliseconds. */
const patience = 5000;

const number = (text: string | undefined): number | undefined => {
  const value = Number.parseFloat(text ?? "");
  return Number.isFinite(value) ? value : undefined;
};
const defined = <T extends object>(fields: T): T =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as T;

/** Cards, of `nvidia-smi --query-gpu=index,utilization.gpu,memory.used,power.draw --format=csv,noheader,nounits`. */
export function parseNvidiaCards(text: string): CardFigures[] {
  return text
    .split("\n")
    .map((line) => line.split(",").map((field) => field.trim()))
    .filter(([index]) => /^\d+$/.test(index))
    .map(([index, load, memory, power]) =>
      defined({ index: Number(index), load: number(load), memory: number(memory), power: number(power) }),
    );
}

/** Processes, of `nvidia-smi pmon -c 1 -s um`, whose columns differ from version to version. */
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

/** Of `rocm-smi --showuse --showmeminfo vram --showpower --showpids --json`; field names differ from version to version. */
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
  // "PID1234": "name, number of cards, bytes of memory, ...": the tool does not say which cards.
  const processes = Object.entries(all.system ?? {}).flatMap(([key, value]) => {
    const pid = /^PID(\d+)$/.exec(key)?.[1];
    const bytes = number(value.split(",")[2]?.trim());
    if (pid === undefined || bytes === undefined || cards.length === 0) return [];
    return [{ index: cards[0].index, pid: Number(pid), memory: bytes / 2 ** 20 }];
  });
  return { cards, processes };
}

/** Of `ioreg -r -c IOAccelerator -d 1`; who works on the card is not told without the rights of root. */
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
 * What to log of cards for one process: its own use, and the whole load of the cards that it works on, which is called
 * theirs. Of cards that others work on and it does not, nothing.
 */
export function gpuFigures({ cards, processes }: GpuReport, pid: number): Record<string, number> {
  const own = processes?.filter((process) => process.pid === pid) ?? [];
  const used = cards.filter(({ index, memory = 0 }) => {
    if (processes === undefined) return true;
    if (own.some((process) => process.index === index)) return true;
    // In a container nobody is listed, whoever fills the card.
    return memory > 1024 && processes.every((process) => process.index !== index);
  });
  const sum = (values: (number | undefined)[]) =>
    values.some((value) => value !== undefined)
      ? values.reduce<number>((all, value) => all + (value ?? 0), 0)
      : undefined;
  return defined({
    "system/gpu_percent": sum(own.map(({ load }) => load)),
    "system/gpu_memory_mb": sum(own.map(({ memory }) => memory)),
    "system/gpu_power_w": sum(used.map(({ power }) => power)),
    ...Object.fromEntries(
      used.flatMap(({ index, load, memory }) => [
        [`system/gpu_${index}_card_percent`, load],
        [`system/gpu_${index}_card_memory_mb`, memory],
      ]),
    ),
  }) as Record<string, number>;
}

/** Asks a tool; one that hangs is killed, and waited for no longer even if it cannot be. */
export function ask(tool: string, args: readonly string[], limit = patience): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(tool, args, { stdio: ["ignore", "pipe", "ignore"] });
    let text = "";
    const timer = setTimeout(() => {
      child.kill("SIGKILL");
      child.stdout.destroy();
      child.unref();
      reject(new Error(`${tool} has not answered within ${limit} ms.`));
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
      else reject(new Error(`${tool} ended with ${code}.`));
    });
  });
}

const sources: Readonly<Record<string, () => Promise<GpuReport>>> = {
  nvidia: async () => {
    const fields = "--query-gpu=index,utilization.gpu,memory.used,power.draw";
    const cards = parseNvidiaCards(await ask("nvidia-smi", [fields, "--format=csv,noheader,nounits"]));
    // Some cards, such as parts of one, tell no processes.
    const processes = await ask("nvidia-smi", ["pmon", "-c", "1", "-s", "um"]).then(
      parseNvidiaProcesses,
      () => undefined,
    );
    return { cards, ...(processes ? { processes } : {}) };
  },
  amd: async () =>
    parseRocm(await ask("rocm-smi", ["--showuse", "--showmeminfo", "vram", "--showpower", "--showpids", "--json"])),
  apple: async () => {
    if (process.platform !== "darwin") throw new Error("This is no machine of Apple's.");
    return parseApple(await ask("ioreg", ["-r", "-c", "IOAccelerator", "-d", "1"]));
  },
};

/** Looks at the cards that there are; a source that failed once is not asked again. */
export class GpuWatch {
  #sources = Object.values(sources);

  /** What {@link gpuFigures} says of this process. */
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
