import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { gpuFigures, parseApple, parseNvidiaCards, parseNvidiaProcesses, parseRocm, runTool } from "./gpu.ts";
import { parseDisk, parseNetwork, SystemMonitor } from "./system.ts";

const cards = `0, 97, 41210, 612.44
1, 3, 14, [N/A]
`;
const pmon = `# gpu         pid   type     sm    mem    enc    dec    jpg    ofa     fb   ccpm    command
# Idx           #    C/G      %      %      %      %      %      %     MB     MB    name
    0       4242     C     61     20      -      -      -      -  30000      0    node
    0       5151     C     36      9      -      -      -      -  11000      0    python
    1          -     -      -      -      -      -      -      -      -      -    -
`;
const olderPmon = `# gpu        pid  type    sm   mem   enc   dec    fb   command
# Idx          #   C/G     %     %     %     %    MB   name
    0       4242     C    61    20     -     -  30000   node
`;

describe("an NVIDIA GPU", () => {
  const report = { cards: parseNvidiaCards(cards), processes: parseNvidiaProcesses(pmon) };

  test("is read from the output of nvidia-smi in any version", () => {
    expect(report.cards).toEqual([
      { index: 0, load: 97, memory: 41210, power: 612.44 },
      { index: 1, load: 3, memory: 14 },
    ]);
    expect(report.processes).toEqual([
      { index: 0, pid: 4242, load: 61, memory: 30000 },
      { index: 0, pid: 5151, load: 36, memory: 11000 },
    ]);
    expect(parseNvidiaProcesses(olderPmon)).toEqual([{ index: 0, pid: 4242, load: 61, memory: 30000 }]);
  });

  test("reports the process's own usage, and the GPU's usage under its name", () => {
    expect(gpuFigures(report, 4242)).toEqual({
      "system/gpu_percent": 61,
      "system/gpu_memory_mb": 30000,
      "system/gpu_power_w": 612.44,
      "system/gpu_0_card_percent": 97,
      "system/gpu_0_card_memory_mb": 41210,
    });
  });

  test("that only other processes use reports nothing", () => {
    expect(gpuFigures(report, 1)).toEqual({});
  });

  test("without a list of processes, as in a container, reports the GPU's usage only", () => {
    expect(gpuFigures({ cards: report.cards, processes: [] }, 1)).toEqual({
      "system/gpu_power_w": 612.44,
      "system/gpu_0_card_percent": 97,
      "system/gpu_0_card_memory_mb": 41210,
    });
  });
});

test("AMD and Apple GPUs are read from the output of their tools", () => {
  const rocm = {
    card0: {
      "GPU use (%)": "45",
      "Average Graphics Package Power (W)": "210.0",
      "VRAM Total Memory (B)": "68702699520",
      "VRAM Total Used Memory (B)": "2147483648",
    },
    system: { PID77: "node, 1, 1073741824, 0, 0", PID78: "python, 1, 524288000, 0, 0" },
  };
  expect(gpuFigures(parseRocm(JSON.stringify(rocm)), 77)).toEqual({
    "system/gpu_memory_mb": 1024,
    "system/gpu_power_w": 210,
    "system/gpu_0_card_percent": 45,
    "system/gpu_0_card_memory_mb": 2048,
  });
  const ioreg = `+-o AGXAcceleratorG13X  <class AGXAcceleratorG13X, id 0x1000003f5, registered, matched, active, busy 0 (0 ms)>
    {
      "IOClass" = "AGXAcceleratorG13X"
      "PerformanceStatistics" = {"In use system memory (driver)"=0,"Alloc system memory"=3145728000,"Tiler Utilization %"=2,"Renderer Utilization %"=30,"Device Utilization %"=31,"In use system memory"=524288000}
    }`;
  expect(gpuFigures(parseApple(ioreg), 1)).toEqual({
    "system/gpu_0_card_percent": 31,
    "system/gpu_0_card_memory_mb": 500,
  });
});

test("a tool that hangs is stopped after a time limit", async () => {
  const folder = mkdtempSync(join(tmpdir(), "anneal-tool-"));
  const tool = join(folder, "hangs");
  writeFileSync(tool, "#!/bin/sh\nexec sleep 600\n", { mode: 0o755 });
  await expect(runTool(tool, [], 200)).rejects.toThrow("did not respond within 200 ms");
  await expect(runTool(join(folder, "missing"), [])).rejects.toThrow("ENOENT");
  rmSync(folder, { recursive: true });
});

describe("system metrics", () => {
  test("include disks and networks, except loopback", () => {
    expect(parseDisk("rchar: 1\nread_bytes: 4096\nwrite_bytes: 8192\ncancelled_write_bytes: 0\n")).toEqual({
      read: 4096,
      write: 8192,
    });
    expect(parseDisk("rchar: 1\n")).toBeUndefined();
    const dev = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 999999   10    0    0    0     0          0         0  999999   10    0    0    0     0       0          0
  eth0: 1500     20    0    0    0     0          0         0     300    9    0    0    0     0       0          0
 wlan0: 500       2    0    0    0     0          0         0     200    1    0    0    0     0       0          0
`;
    expect(parseNetwork(dev)).toEqual({ receive: 2000, transmit: 500 });
  });

  test("of this process grow with its activity", async () => {
    const monitor = new SystemMonitor();
    const file = join(mkdtempSync(join(tmpdir(), "anneal-disk-")), "file");
    writeFileSync(file, Buffer.alloc(20e6, 7), { flush: true });
    const figures = await monitor.sample({ cards: false });
    expect(figures["system/cpu_percent"]).toBeGreaterThan(0);
    expect(figures["system/memory_mb"]).toBeGreaterThan(20);
    if (process.platform === "linux") {
      for (const name of ["disk_read", "disk_write", "network_receive", "network_transmit"]) {
        expect(figures[`system/${name}_megabytes`], name).toBeGreaterThanOrEqual(0);
      }
    }
    rmSync(file);
  });
});
