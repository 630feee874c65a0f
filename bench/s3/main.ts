/**
 * How fast the S3 face is: `cairn start` on a tmpfs, loads in processes of their own, and whatever other S3 servers are there beside it. For each row also what
 * the server's processor time comes to, which a busy machine changes less than the rate.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { loadavg } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { interrupt, isInterrupted, onPath, resume, run } from '../child.js';
import { Cleanup } from '../cleanup.js';
import { describeMachine, peakResidentBytes } from '../machine.js';
import type { S3LoadName } from './load.js';
import type { S3Figures, S3LoadSize } from './load-size.js';
import { givenSubject, processorSeconds, type S3Subject, startCairn, startPeers } from './server.js';

const HELP = `Usage: node dist/bench/s3/main.js [options]

  --only ROW        only this (may be given again): get, put, put-signed, put-crc64, get-small, put-small, list, memory
  --seconds N       how long each row runs (5)
  --keys N          how many keys are listed (100000)
  --stream-mib N    how large the streamed upload is while the memory is watched (3072)
  --connections N   connections of the 8 MiB rows (4); the 1 KiB rows have eight times as many
  --dir DIR         where pool and disks are (/dev/shm)
  --endpoint NAME=http://HOST:PORT,ACCESS,SECRET   a server that runs already (may be given again)
  --no-peers        Cairn alone
  --warp            also warp, if it is on the PATH
  --profile DIR     write a CPU profile of Cairn's process to DIR`;

const MIB = 1024 * 1024;

interface Row {
  readonly name: string;
  readonly label: string;
  readonly load: S3LoadName;
  readonly unit: 'MB/s' | '/s';
}

const ROWS: readonly Row[] = [
  { name: 'get', label: 'GET 8 MiB', load: 'getLarge', unit: 'MB/s' },
  { name: 'put', label: 'PUT 8 MiB, unsigned body', load: 'putLarge', unit: 'MB/s' },
  { name: 'put-signed', label: 'PUT 8 MiB, signed SHA-256', load: 'putLargeSigned', unit: 'MB/s' },
  { name: 'put-crc64', label: 'PUT 8 MiB, CRC64NVME', load: 'putLargeCrc64', unit: 'MB/s' },
  { name: 'get-small', label: 'GET 1 KiB', load: 'getSmall', unit: '/s' },
  { name: 'put-small', label: 'PUT 1 KiB', load: 'putSmall', unit: '/s' },
  { name: 'list', label: 'keys listed in pages of 1,000', load: 'listKeys', unit: '/s' },
];
const NAMES = [...ROWS.map(({ name }) => name), 'memory'];

function whole(option: string, text: string): number {
  if (!/^[1-9]\d{0,7}$/.test(text)) throw new Error(`${option} must be a whole number from 1, not ${text}`);
  return Number(text);
}

async function runLoad(name: S3LoadName, { target }: S3Subject, size: S3LoadSize): Promise<S3Figures> {
  const program = fileURLToPath(new URL('./load.js', import.meta.url));
  return JSON.parse(
    await run(process.execPath, [program, name, JSON.stringify(target), JSON.stringify(size)]),
  ) as S3Figures;
}

function line(...cells: string[]): void {
  process.stdout.write(`${cells.map((cell, i) => cell.padEnd(i === 1 ? 32 : 14)).join('')}\n`);
}

async function measureRow(row: Row, subject: S3Subject, size: S3LoadSize): Promise<void> {
  if (row.load === 'listKeys') await runLoad('makeKeys', subject, size);
  const before = subject.pid === undefined ? 0 : processorSeconds(subject.pid);
  const { operations, bytes, seconds } = await runLoad(row.load, subject, size);
  const used = subject.pid === undefined ? undefined : processorSeconds(subject.pid) - before;
  const isBytes = row.unit === 'MB/s';
  const rate = isBytes ? `${(bytes / seconds / 1e6).toFixed(0)} MB/s` : `${Math.round(operations / seconds)} /s`;
  const cost =
    used === undefined
      ? ''
      : isBytes
        ? `${((used / bytes) * 1e12).toFixed(0)} ms of CPU per GB`
        : `${((used / operations) * 1e6).toFixed(1)} us of CPU each`;
  line(subject.name, row.label, rate, cost);
}

/** How far the highest resident size during one streamed upload lies above what the server had before it. */
async function measureMemory(subject: S3Subject, size: S3LoadSize): Promise<void> {
  if (subject.pid === undefined) return;
  // Resets the peak.
  writeFileSync(`/proc/${subject.pid}/clear_refs`, '5');
  const before = Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${subject.pid}/status`, 'utf8'))![1]) * 1024;
  const { bytes, seconds } = await runLoad('stream', subject, size);
  const peak = peakResidentBytes(subject.pid);
  line(
    subject.name,
    `PUT of ${size.streamMib} MiB, one stream`,
    `${(bytes / seconds / 1e6).toFixed(0)} MB/s`,
    `peak ${(peak / MIB).toFixed(0)} MiB resident, ${((peak - before) / MIB).toFixed(0)} MiB above before`,
  );
}

async function warp({ target }: S3Subject, seconds: number): Promise<void> {
  const { host } = new URL(target.endpoint);
  const keys = [`--host=${host}`, `--access-key=${target.accessKey}`, `--secret-key=${target.secretKey}`];
  for (const what of ['get', 'put']) {
    const sizes = ['--obj.size=8MiB', '--objects=64', `--duration=${seconds}s`, '--no-color', '--noclear'];
    process.stdout.write(await run('warp', [what, ...keys, ...sizes]));
  }
}

async function main(cleanup: Cleanup): Promise<void> {
  const { values } = parseArgs({
    options: {
      only: { type: 'string', multiple: true },
      seconds: { type: 'string', default: '5' },
      keys: { type: 'string', default: '100000' },
      'stream-mib': { type: 'string', default: '3072' },
      connections: { type: 'string', default: '4' },
      dir: { type: 'string', default: '/dev/shm' },
      endpoint: { type: 'string', multiple: true, default: [] },
      'no-peers': { type: 'boolean', default: false },
      warp: { type: 'boolean', default: false },
      profile: { type: 'string' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(`${HELP}\n`);
    return;
  }
  const only = values.only ?? NAMES;
  const unknown = only.find((name) => !NAMES.includes(name));
  if (unknown !== undefined) throw new Error(`--only ${unknown} is none of: ${NAMES.join(', ')}`);
  const connections = whole('--connections', values.connections);
  const size: S3LoadSize = {
    seconds: whole('--seconds', values.seconds),
    largeConnections: connections,
    smallConnections: connections * 8,
    listedKeys: whole('--keys', values.keys),
    streamMib: whole('--stream-mib', values['stream-mib']),
  };
  if (size.streamMib > 5 * 1024) throw new Error('--stream-mib is at most 5120: one PUT brings no more');
  const profile = values.profile === undefined ? undefined : resolve(values.profile);
  if (profile !== undefined) mkdirSync(profile, { recursive: true });
  const base = await mkdtemp(join(values.dir, 'cairn-s3-bench-'));
  cleanup.add(`remove ${base}`, () => rm(base, { recursive: true, force: true, maxRetries: 10 }));
  const { processor, cores, kernel, node, fileSystem } = describeMachine(base);
  const load = loadavg()
    .map((value) => value.toFixed(1))
    .join(' ');
  process.stdout.write(
    `${processor}, ${cores} cores; Linux ${kernel}; node ${node}; on ${fileSystem}; load average ${load}\n\n`,
  );
  const say = (text: string): void => void process.stdout.write(`${text}\n`);
  const subjects = [await startCairn(join(base, 'cairn'), cleanup, profile)];
  subjects.push(...values.endpoint.map(givenSubject));
  if (!values['no-peers']) subjects.push(...(await startPeers(base, cleanup, say)));
  for (const subject of subjects) await runLoad('prepare', subject, size);
  if (only.includes('memory')) for (const subject of subjects) await measureMemory(subject, size);
  for (const row of ROWS)
    if (only.includes(row.name)) for (const subject of subjects) await measureRow(row, subject, size);
  if (!values.warp) return;
  if (onPath('warp')) for (const subject of subjects) await warp(subject, size.seconds);
  else say('warp: not found (no warp on the PATH)');
}

const cleanup = new Cleanup();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, interrupt);
try {
  await main(cleanup);
} catch (error) {
  if (!isInterrupted()) process.stderr.write(`bench: ${error instanceof Error ? error.message : error}\n`);
  process.exitCode = isInterrupted() ? 130 : 1;
}
resume();
await cleanup.run();
