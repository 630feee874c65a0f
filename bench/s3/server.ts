/** A server to be measured: `cairn start` in a directory of its own, a peer whose program is on the PATH, or one that runs already and is only named. */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { onPath } from '../child.js';
import type { Cleanup } from '../cleanup.js';
import type { Target } from './connection.js';

const COMMAND = fileURLToPath(new URL('../../src/cli/cairn.cjs', import.meta.url));
const START_MS = 60_000;
const END_MS = 120_000;
const KEYS = { accessKey: 'benchaccess', secretKey: 'benchsecret0' };

export interface S3Subject {
  readonly name: string;
  readonly target: Target;
  /** Undefined for a server that was not started here. */
  readonly pid: number | undefined;
}

interface Peer {
  readonly name: string;
  readonly program: string;
  /** How it is started; undefined where it needs a set-up of its own, and is given by --endpoint. */
  readonly start?: (
    directory: string,
    port: number,
  ) => { readonly args: string[]; readonly env?: Readonly<Record<string, string>> };
}

/** What one command starts with four directories or one, and the keys above. */
const PEERS: readonly Peer[] = [
  {
    name: 'minio',
    program: 'minio',
    start: (directory, port) => ({
      args: ['server', '--quiet', '--address', `127.0.0.1:${port}`, `${directory}/d{1...4}`],
      env: { MINIO_ROOT_USER: KEYS.accessKey, MINIO_ROOT_PASSWORD: KEYS.secretKey, MINIO_CI_CD: '1' },
    }),
  },
  {
    name: 'rustfs',
    program: 'rustfs',
    start: (directory, port) => ({
      args: ['--address', `127.0.0.1:${port}`, `${directory}/d{1...4}`],
      env: { RUSTFS_ACCESS_KEY: KEYS.accessKey, RUSTFS_SECRET_KEY: KEYS.secretKey },
    }),
  },
  {
    name: 'versitygw',
    program: 'versitygw',
    start: (directory, port) => ({
      args: ['--access', KEYS.accessKey, '--secret', KEYS.secretKey, '--port', `127.0.0.1:${port}`, 'posix', directory],
    }),
  },
  {
    name: 'seaweedfs',
    program: 'weed',
    start: (directory, port) => ({
      args: ['server', '-ip=127.0.0.1', `-dir=${directory}`, '-s3', `-s3.port=${port}`],
      env: { AWS_ACCESS_KEY_ID: KEYS.accessKey, AWS_SECRET_ACCESS_KEY: KEYS.secretKey },
    }),
  },
  { name: 'garage', program: 'garage' },
  { name: 'radosgw', program: 'radosgw' },
];

/** Starts a new pool in `base`. `profile`: where a CPU profile of it goes. */
export async function startCairn(base: string, cleanup: Cleanup, profile?: string): Promise<S3Subject> {
  await mkdir(base, { recursive: true });
  cleanup.add(`remove ${base}`, () => rm(base, { recursive: true, force: true, maxRetries: 10 }));
  const flags = profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`];
  const child = spawn(process.execPath, [...flags, COMMAND, 'start'], {
    cwd: base,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  cleanup.add('stop cairn', () => end(child));
  let out = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  const word = (name: string) => new RegExp(`${name}:? +(\\S+)`).exec(out)?.[1];
  await until(() => word('secret key') !== undefined && out.includes('Three things'), child);
  const target = { endpoint: word('S3')!, accessKey: word('access key')!, secretKey: word('secret key')! };
  return { name: 'cairn', target, pid: child.pid! };
}

/** All peers that can be started here; `say` is told of the others. */
export async function startPeers(base: string, cleanup: Cleanup, say: (text: string) => void): Promise<S3Subject[]> {
  const started: S3Subject[] = [];
  for (const { name, program, start } of PEERS) {
    if (!onPath(program)) {
      say(`${name}: not found (no ${program} on the PATH)`);
      continue;
    }
    if (start === undefined) {
      say(`${name}: needs a set-up of its own; start it and give --endpoint ${name}=http://HOST:PORT,ACCESS,SECRET`);
      continue;
    }
    const directory = join(base, name);
    await mkdir(directory, { recursive: true });
    const port = await freePort();
    const { args, env } = start(directory, port);
    const child = spawn(program, args, { cwd: directory, env: { ...process.env, ...env }, stdio: 'ignore' });
    cleanup.add(`stop ${name}`, () => end(child));
    const endpoint = `http://127.0.0.1:${port}`;
    try {
      await until(() => answers(endpoint), child);
      started.push({ name, target: { endpoint, ...KEYS }, pid: child.pid });
    } catch (error) {
      say(`${name}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return started;
}

/** `name=http://host:port,access,secret` */
export function givenSubject(text: string): S3Subject {
  const match = /^([^=]+)=(https?:\/\/[^,]+),([^,]+),(.+)$/.exec(text);
  if (match === null) throw new Error(`--endpoint ${text} is not NAME=http://HOST:PORT,ACCESS,SECRET`);
  const [, name, endpoint, accessKey, secretKey] = match as unknown as [string, string, string, string, string];
  return { name, target: { endpoint, accessKey, secretKey }, pid: undefined };
}

/** Seconds of processor time that a process has used. */
export function processorSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

async function answers(endpoint: string): Promise<boolean> {
  return fetch(endpoint).then(
    () => true,
    () => false,
  );
}

async function until(isReady: () => boolean | Promise<boolean>, child: ChildProcess): Promise<void> {
  const deadline = Date.now() + START_MS;
  let failure: Error | undefined;
  child.once('error', (error) => {
    failure = error;
  });
  while (!(await isReady())) {
    if (failure !== undefined) throw failure;
    if (child.exitCode !== null || child.signalCode !== null)
      throw new Error(`it ended with ${child.exitCode ?? child.signalCode}`);
    if (Date.now() > deadline) throw new Error('it was not ready in time');
    await delay(100);
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.kill('SIGTERM');
  const impatient = setTimeout(() => child.kill('SIGKILL'), END_MS);
  await ended;
  clearTimeout(impatient);
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}
