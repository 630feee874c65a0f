/**
 * System calls that fail in the unmodified daemon: the Nth sync, write or rename is its last (SIGKILL), or is answered with EIO or ENOSPC, over
 * a short work and over recovery itself. Whatever was acknowledged is there afterwards, byte for byte; nothing else is; the daemon neither hangs nor crashes.
 * With `CAIRN_TEST_SCALE=full` N is 1, 2, 3 … until a run completes; else a few of each.
 */
import { existsSync, statfsSync } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { NodeFileIo } from '../../src/io/node-file-io.js';
import { SystemRandom } from '../../src/io/random.js';
import { initPool } from '../../src/pool/init-pool.js';
import { findProblems, type ManifestLine } from './fault-steps.js';
import { readMount, readPool } from './fault-tree.js';
import { cannotMount, MountHarness } from './mount-harness.js';
import { cannotTrace, describeFault, type Fault, TracedDaemon } from './traced-daemon.js';

const MIB = 1024 * 1024;
const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const IS_FULL = process.env['CAIRN_TEST_SCALE'] === 'full';
/** How long anything may take before the daemon counts as hanging: far beyond what it does take. */
const LIMIT_MS = 120_000;
/** No daemon makes so many calls in one of these runs. */
const NTH_MAX = 1000;
const CALLS = ['fdatasync', 'fsync', 'pwritev', 'pwrite64', 'rename'] as const;
const WAYS = ['kill', 'EIO', 'ENOSPC'] as const;
/** `ONLY=fdatasync:EIO:7` runs one fault again, in every test; `EVERY=3` takes every third N only, in full size. */
const ONLY = process.env['ONLY']?.split(':');
const EVERY = Number(process.env['EVERY'] ?? 1);

/** A device of this size makes small segments, of which the work fills some. */
class SmallIo extends NodeFileIo {
  override async space(): Promise<{ totalBytes: number; freeBytes: number }> {
    return { totalBytes: 64 * MIB, freeBytes: 64 * MIB };
  }
}

interface Rig {
  readonly harness: MountHarness;
  readonly manifest: string;
  /** Puts the pool back into the state in which it was kept last. */
  restore(): Promise<void>;
  keep(): Promise<void>;
}

async function createRig(t: Test): Promise<Rig> {
  const memory = '/dev/shm';
  const inMemory = existsSync(memory) && statfsSync(memory).bavail * statfsSync(memory).bsize > 1024 * MIB;
  const harness = await MountHarness.create(t, { parent: inMemory ? memory : tmpdir() });
  const io = new SmallIo();
  await initPool(io, new SystemRandom(), harness.pool, {
    disks: harness.disks,
    journals: [],
    cache: harness.cache,
    meta: harness.meta,
    scheme: 'auto',
    bucketBytes: 8 * MIB,
    chunkBytes: 512 * 1024,
  });
  // Commits come when they are asked for, or after a while, so that some faults meet them.
  await harness.configure((toml) => toml.replace(/^delay_ms = .*$/m, 'delay_ms = 300'));
  const directories = [harness.pool, harness.cache, ...harness.disks];
  const manifest = join(harness.directory, 'manifest');
  const kept = (path: string): string => `${path}.kept`;
  const copy = async (from: string, to: string): Promise<void> => {
    await rm(to, { recursive: true, force: true });
    if (existsSync(from)) await harness.must('cp', '-a', '--sparse=always', from, to);
  };
  const rig: Rig = {
    harness,
    manifest,
    keep: async () => {
      for (const path of [...directories, manifest]) await copy(path, kept(path));
    },
    restore: async () => {
      for (const path of [...directories, manifest]) await copy(kept(path), path);
    },
  };
  await writeFile(manifest, '');
  await rig.keep();
  return rig;
}

/** Every path of the first disk that a log or an index may have in a short life. */
function pathsOf(disk: string): string[] {
  const paths = [join(disk, 'log'), join(disk, 'index.sqlite'), join(disk, 'index.sqlite-wal')];
  for (let number = 1; number <= 24; number++)
    for (const stream of ['data', 'journal'])
      for (const suffix of ['log', 'new', 'spare'])
        paths.push(join(disk, 'log', `${stream}-${String(number).padStart(10, '0')}.${suffix}`));
  return paths;
}

async function linesOf(manifest: string): Promise<ManifestLine[]> {
  const text = await readFile(manifest, 'utf8');
  // A writer that is killed with its mount may leave half a line.
  return text
    .split('\n')
    .filter((line) => line.endsWith('}'))
    .map((line) => JSON.parse(line) as ManifestLine);
}

async function problemsIn(rig: Rig, kind: 'mount' | 'pool', mode: Mode): Promise<string[]> {
  const { harness, manifest } = rig;
  try {
    const tree = kind === 'mount' ? await readMount(harness.mountpoint) : await readPool(harness.pool);
    const level = kind === 'mount' ? 'local' : 'pool';
    return findProblems(tree, await linesOf(manifest), level, mode === 'strong').map((one) => `${kind}: ${one}`);
  } catch (error) {
    return [`the ${kind} cannot be read: ${String(error)}`];
  }
}

type Mode = 'default' | 'strong';

interface Kind {
  readonly mode: Mode;
  /** `work`: faults meet the start, the work and the end of a daemon. `recovery`: those of one that finds what a killed one left. */
  readonly phase: 'work' | 'recovery';
  /** Only calls on the first disk's files fail: then nobody who works on the mount notices. */
  readonly oneDisk: boolean;
}

/** One daemon with one fault, then one without: what contradicts the promises, and whether the fault came to pass. */
async function tryFault(rig: Rig, kind: Kind, fault: Fault): Promise<{ problems: string[]; isHit: boolean }> {
  const { harness, manifest } = rig;
  const problems: string[] = [];
  await rig.restore();
  const flags = kind.mode === 'strong' ? ['--strong'] : [];
  const args = [MAIN, 'mount', '--foreground', ...flags, harness.pool, harness.mountpoint];
  const daemon = new TracedDaemon(fault, args, harness.directory);
  try {
    const isReady = await daemon.within(LIMIT_MS, 'starting', daemon.ready());
    if (isReady && kind.phase === 'work') {
      const writer = harness.script('fault-writer', harness.mountpoint, manifest, harness.pool);
      const { code, stderr } = await daemon.within(LIMIT_MS, 'the work', writer.ended);
      if (code !== 0) problems.push(`the work ended with ${code}: ${stderr}`);
    }
    // A clean end, as far as the faults allow it, or none.
    if (isReady && fault.how !== 'kill' && fault.nth % 2 === 0)
      await daemon.within(LIMIT_MS, 'unmounting', harness.run('unmount', harness.mountpoint));
  } catch (error) {
    problems.push(String(error));
  }
  await daemon.kill();
  const { stderr } = await daemon.ended;
  if (/\n\s+at /.test(stderr)) problems.push(`a stack trace: ${stderr}`);
  if ((await harness.log()).some((line) => line.startsWith('a programming error')))
    problems.push('a programming error');
  if (kind.oneDisk) {
    const failed = (await linesOf(manifest)).flatMap((line) =>
      'failed' in line ? [`${line.failed}: ${line.code}`] : [],
    );
    if (failed.length > 0) problems.push(`the failing of one disk is noticed: ${failed.join()}`);
  }
  const sound = harness.start(process.execPath, ...args);
  try {
    await daemon.within(
      LIMIT_MS,
      'mounting again',
      sound.until((lines) => lines.some((line) => line.startsWith('mounted '))),
    );
    problems.push(...(await problemsIn(rig, 'mount', kind.mode)));
  } catch (error) {
    problems.push(`it cannot be mounted again: ${String(error)}`);
  }
  sound.kill();
  await sound.ended;
  await rm(harness.meta, { recursive: true, force: true });
  await harness.loseCache();
  problems.push(...(await problemsIn(rig, 'pool', kind.mode)));
  return { problems, isHit: daemon.isHit };
}

/** N for a test in CI size: one early, one later, others for every fault. */
function nthFor(index: number): number[] {
  return [2 + (index % 5), 9 + ((index * 7) % 23)];
}

async function tryAll(t: Test, rig: Rig, kind: Kind, stride: number): Promise<void> {
  let runs = 0;
  let hits = 0;
  let index = 0;
  for (const call of CALLS) {
    for (const how of WAYS) {
      index += 1;
      if (kind.oneDisk && how === 'kill') continue;
      if (ONLY !== undefined && (ONLY[0] !== call || ONLY[1] !== how)) continue;
      if (!IS_FULL && ONLY === undefined && index % stride !== 0) continue;
      const numbers =
        ONLY !== undefined
          ? [Number(ONLY[2])]
          : IS_FULL
            ? Array.from({ length: NTH_MAX }, (_, i) => 1 + i * EVERY)
            : nthFor(index);
      for (const nth of numbers) {
        const fault: Fault = { call, how, nth, ...(kind.oneDisk && { paths: pathsOf(rig.harness.disks[0]!) }) };
        const { problems, isHit } = await tryFault(rig, kind, fault);
        runs += 1;
        if (isHit) hits += 1;
        if (problems.length > 0)
          t.fail(describeFault(fault), {
            problems,
            manifest: await readFile(rig.manifest, 'utf8'),
            log: await rig.harness.logTail(),
          });
        if (!isHit) break;
      }
    }
  }
  t.comment(`${runs} runs, ${hits} with a fault`);
  t.ok(hits > 0, 'faults came to pass');
}

const skip = cannotMount() || cannotTrace();

for (const mode of ['default', 'strong'] as const) {
  t.test(`${mode} mode: any call of the daemon may be its last, or fail`, { skip }, async (t) => {
    const rig = await createRig(t);
    await tryAll(t, rig, { mode, phase: 'work', oneDisk: false }, mode === 'strong' ? 5 : 7);
  });

  t.test(
    `${mode} mode: calls on one disk fail, and whoever works on the mount does not notice`,
    { skip },
    async (t) => {
      const rig = await createRig(t);
      await tryAll(t, rig, { mode, phase: 'work', oneDisk: true }, mode === 'strong' ? 6 : 8);
    },
  );
}

t.test('recovery: any call of it may be its last, or fail', { skip }, async (t) => {
  const rig = await createRig(t);
  const { harness, manifest } = rig;
  await harness.mount();
  const { code, stderr } = await harness.script('fault-writer', harness.mountpoint, manifest, harness.pool).ended;
  if (code !== 0) throw new Error(stderr);
  await harness.kill();
  const lines = await linesOf(manifest);
  t.equal(lines.filter((line) => 'failed' in line).length, 0, 'the work before went well');
  // So that there is something to recover: the metadata is made anew, an index too.
  await rm(harness.meta, { recursive: true });
  await rm(join(harness.disks[1]!, 'index.sqlite'));
  await rm(join(harness.disks[1]!, 'index.sqlite-wal'), { force: true });
  await rig.keep();
  await tryAll(t, rig, { mode: 'default', phase: 'recovery', oneDisk: false }, 4);
});
