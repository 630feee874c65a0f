/**
 * How fast a dead disk is rebuilt onto a new one, as a ratio to `cp` of as many bytes on the same file system, and what users notice of it: the p99 of
 * a read of 4 KiB, against its value in quiet.
 *
 *     node dist/bench/rebuild.js [--mib 512] [--directory /dev/shm]
 *
 * Disks, cache and mount lie below the directory, which best is a tmpfs: then it is Cairn's own speed that is seen, not a disk's. Reads go past the kernel's pages
 * and the cache (8 MiB). The first rebuild stands back for the reads; the second runs at full speed with nobody reading.
 */
import { execFile } from 'node:child_process';
import { randomBytes, randomInt } from 'node:crypto';
import { constants, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { open, rename } from 'node:fs/promises';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { ControlClient } from '../src/http/control-client.js';
import type { JobReport } from '../src/vfs/reports.js';

const MIB = 1024 * 1024;
const QUIET_MS = 4000;
const CAIRN = fileURLToPath(new URL('../src/cli/main.js', import.meta.url));
const run = promisify(execFile);

const { values } = parseArgs({
  options: { mib: { type: 'string', default: '512' }, directory: { type: 'string', default: '/dev/shm' } },
});
const mib = Number(values.mib);
const root = mkdtempSync(join(values.directory, 'cairn-rebuild-'));
const at = (name: string): string => join(root, name);
const cairn = (...args: string[]) => run(process.execPath, [CAIRN, ...args]);
const client = new ControlClient(at('pool'));

async function reads(goesOn: () => Promise<boolean>): Promise<{ count: number; p50Ms: number; p99Ms: number }> {
  const file = await open(at('mnt/file'), constants.O_RDONLY | constants.O_DIRECT);
  const times: number[] = [];
  const buffer = Buffer.alloc(4096);
  let looked = 0;
  for (;;) {
    const begun = performance.now();
    await file.read(buffer, 0, 4096, randomInt(mib * 256) * 4096);
    times.push(performance.now() - begun);
    if (performance.now() - looked > 100) {
      looked = performance.now();
      if (!(await goesOn())) break;
    }
    await new Promise(setImmediate);
  }
  await file.close();
  times.sort((a, b) => a - b);
  const part = (share: number): number => times[Math.floor(share * (times.length - 1))] ?? 0;
  return { count: times.length, p50Ms: part(0.5), p99Ms: part(0.99) };
}

async function rebalance(): Promise<JobReport> {
  return (await client.jobs()).find(({ name }) => name === 'rebalance')!;
}

async function replace(old: number, name: string, ...flags: string[]): Promise<void> {
  await rename(at(`disk${old}`), at(`dead${old}`));
  while ((await client.status()).disks.find(({ number }) => number === old)?.state === 'online')
    await new Promise((resolve) => setTimeout(resolve, 200));
  mkdirSync(at(name));
  await cairn('disk', 'replace', at('pool'), String(old), at(name), '--size', size, '--yes', ...flags);
}

const size = `${mib * 2}MiB`;
try {
  for (const name of ['disk1', 'disk2', 'disk3', 'cache', 'mnt']) mkdirSync(at(name));
  await cairn(
    'init',
    at('pool'),
    '--disk',
    at('disk1'),
    at('disk2'),
    at('disk3'),
    '--size',
    size,
    size,
    size,
    '--cache',
    at('cache'),
  );
  const toml = readFileSync(at('pool/cairn.toml'), 'utf8');
  writeFileSync(at('pool/cairn.toml'), toml.replace(/^# size_bytes.*$/m, 'size_bytes = 67108864'));
  await cairn('mount', at('pool'), at('mnt'));
  const out = await open(at('mnt/file'), 'w');
  for (let done = 0; done < mib; done += 8) await out.write(randomBytes(8 * MIB));
  await out.close();
  await cairn('commit', '--wait', at('mnt'));

  const begun = performance.now();
  const quiet = await reads(async () => performance.now() - begun < QUIET_MS);
  await replace(2, 'disk4');
  const busy = await reads(async () => ['running', 'waiting'].includes((await rebalance()).state));
  const beside = await rebalance();
  await replace(3, 'disk5', '--full-speed', '--wait');
  const alone = await rebalance();
  const seconds = (job: JobReport): number => (job.endedMs! - job.startedMs!) / 1000;
  const rate = (job: JobReport): number => job.doneBytes / MIB / seconds(job);

  await run('cp', [at('mnt/file'), at('source')]);
  const copied = performance.now();
  await run('cp', [at('source'), at('copy')]);
  const copyRate = (mib / (performance.now() - copied)) * 1000;
  const figures = {
    loadAverage: loadavg().map((load) => Number(load.toFixed(2))),
    quiet,
    duringRebuild: busy,
    p99Ratio: busy.p99Ms / quiet.p99Ms,
    rebuiltMiB: alone.doneBytes / MIB,
    besideReadsMiBPerSecond: rate(beside),
    fullSpeedMiBPerSecond: rate(alone),
    cpMiBPerSecond: copyRate,
    ratioToCp: rate(alone) / copyRate,
  };
  process.stdout.write(`${JSON.stringify(figures, null, 2)}\n`);
} finally {
  await cairn('unmount', at('mnt')).catch(() => undefined);
  rmSync(root, { recursive: true, force: true });
}
