/** What the figures were measured on, and what /proc and /sys say while measuring. */
import { existsSync, readdirSync, readFileSync, statfsSync, statSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';

export interface Machine {
  readonly processor: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly kernel: string;
  readonly node: string;
  /** Of the directory that the bench works in. */
  readonly fileSystem: string;
}

/** From statfs(2). */
const FILE_SYSTEMS = new Map([
  [0xef53, 'ext4'],
  [0x58465342, 'xfs'],
  [0x9123683e, 'btrfs'],
  [0x01021994, 'tmpfs'],
  [0x794c7630, 'overlayfs'],
]);

export function describeMachine(directory: string): Machine {
  const type = statfsSync(directory).type;
  return {
    processor: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryBytes: totalmem(),
    kernel: release(),
    node: process.version,
    fileSystem: FILE_SYSTEMS.get(type) ?? `file system 0x${type.toString(16)}`,
  };
}

export function freeBytes(directory: string): number {
  const { bavail, bsize } = statfsSync(directory);
  return bavail * bsize;
}

/** The highest resident size that a process has had. */
export function peakResidentBytes(pid: number): number {
  return statusField(`/proc/${pid}`, 'VmHWM') * 1024;
}

export function residentBytes(pid: number): number {
  return statusField(`/proc/${pid}`, 'VmRSS') * 1024;
}

/** How often the threads of a process have waited for something so far, and were woken. */
export function wakeupCount(pid: number): number {
  let count = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`))
    count += statusField(`/proc/${pid}/task/${thread}`, 'voluntary_ctxt_switches');
  return count;
}

function statusField(process: string, name: string): number {
  const line = new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(readFileSync(`${process}/status`, 'utf8'));
  if (line === null) throw new Error(`${process}/status has no ${name}`);
  return Number(line[1]);
}

/** Flushes that the device below a directory has completed since boot; undefined if the kernel does not say. */
export function flushCount(directory: string): number | undefined {
  const { dev } = statSync(directory);
  const device = `/sys/dev/block/${((dev >> 8) & 0xfff) >>> 0}:${(dev & 0xff) | ((dev >> 12) & 0xfff00)}`;
  try {
    // a partition does not count its flushes, the disk around it does
    const disk = existsSync(`${device}/partition`) ? `${device}/..` : device;
    const flushes = readFileSync(`${disk}/stat`, 'utf8').trim().split(/\s+/)[15];
    return flushes === undefined ? undefined : Number(flushes);
  } catch {
    return undefined;
  }
}
