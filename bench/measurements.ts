/**
 * What is measured, in order. Each measurement runs on either side alike: the same loads in the same kind of process, the
 * same sizes, and `settle` at the same places, so that no load pays for what an earlier one left to be done.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { isRunnable, runLoad } from './child.js';
import type { LoadSize } from './loads/load.js';
import { flushCount, peakResidentBytes, residentBytes, wakeupCount } from './machine.js';
import { MountSubject } from './mount-subject.js';
import type { Results } from './results.js';
import { canDropPageCache, type Subject } from './subject.js';

export interface Measurement {
  /** What `--only` names; several may share it. */
  readonly name: string;
  readonly strong: boolean;
  /** A pool of its own for every repeat, on this place; its plain side is not measured. */
  readonly alone?: { readonly on: 'directory' | 'tmpfs'; readonly noTimer?: boolean; readonly once?: boolean };
  /** Bytes of free space that it takes. */
  readonly space: (size: LoadSize) => number;
  readonly run: (subject: Subject, size: LoadSize, results: Results) => Promise<void>;
}

/** File, cache file, and its shards with their parity. */
const COPIES = 3;
/** After this an idle daemon has only its own timers to do. */
const CALM_MS = 60_000;
const IDLE_MS = 15_000;

export const MEASUREMENTS: readonly Measurement[] = [
  {
    name: 'sequential',
    strong: false,
    space: ({ streamBytes }) => streamBytes * COPIES * 4,
    run: async (subject, size, results) => {
      const what = gib(size.streamBytes);
      const step = async (name: 'writeStream' | 'readStream', label: string) => {
        const { bytesPerSecond } = await runLoad(name, subject.directory, size);
        results.add(subject.side, `${label} ${what}`, 'bytes/s', bytesPerSecond);
      };
      await subject.settle();
      await step('writeStream', 'sequential write');
      await subject.settle();
      // Warm is what has been read before. What a program has only written is in the cache, but not in the kernel's pages of the mount.
      await step('readStream', 'sequential read, first after writing');
      await step('readStream', 'sequential read, warm');
      if (await isRunnable('python3')) {
        const { bytesPerSecond } = await runLoad('readMapped', subject.directory, size);
        results.add(subject.side, `mapped read, a byte of each page, warm ${what}`, 'bytes/s', bytesPerSecond);
      } else results.note('No mapped read: python3 is not installed.');
      if (canDropPageCache()) {
        await subject.makeCold();
        await step('readStream', 'sequential read, cold from the disks');
        const giveBack = subject instanceof MountSubject ? await subject.takeDiskAway() : await subject.makeCold();
        // The plain side has one disk, and reads from it as before; peers are not taken apart.
        if (giveBack !== undefined || subject.side === 'plain')
          await step('readStream', 'sequential read, cold, one of three disks gone');
        await giveBack?.();
      } else {
        results.note('No cold read: only root can drop the page cache.');
      }
    },
  },
  {
    name: 'small-files',
    strong: false,
    space: ({ smallFiles, smallFileBytes }) => smallFiles * smallFileBytes * COPIES * 8,
    run: async (subject, size, results) => {
      await subject.settle();
      const figures = await runLoad('smallFiles', subject.directory, size);
      const files = `${size.smallFiles.toLocaleString('en-US')} small files`;
      results.add(subject.side, `create, write 4 KiB, close ${files}`, '/s', figures['create']);
      results.add(subject.side, `stat ${files}`, '/s', figures['stat']);
      results.add(subject.side, `unlink ${files}`, '/s', figures['unlink']);
      if (!canDropPageCache()) return;
      await runLoad('makeListed', subject.directory, size);
      await subject.makeCold();
      const { filesPerSecond } = await runLoad('listWithAttributes', subject.directory, size);
      results.add(subject.side, `list with attributes (readdirplus), cold, ${files}`, '/s', filesPerSecond);
    },
  },
  {
    name: 'shared-directory',
    strong: false,
    space: () => 2 ** 28,
    run: async (subject, size, results) => {
      await subject.settle();
      const { filesPerSecond } = await runLoad('sharedDirectory', subject.directory, size);
      results.add(subject.side, 'create, write, close, unlink: 16 processes, one directory', '/s', filesPerSecond);
    },
  },
  {
    name: 'tree',
    strong: false,
    space: ({ treeFiles }) => treeFiles * 2 ** 14 * COPIES,
    run: async (subject, size, results) => {
      if (!(await isRunnable('git'))) {
        results.note('No tree: git is not installed.');
        return;
      }
      await runLoad('prepareTree', subject.directory, size);
      await subject.settle();
      const files = `${size.treeFiles.toLocaleString('en-US')} files`;
      for (const [name, label] of [
        ['unpackTree', 'untar'],
        ['statusOfTree', 'git status of'],
        ['removeTree', 'rm -rf'],
      ] as const) {
        const { filesPerSecond } = await runLoad(name, subject.directory, size);
        results.add(subject.side, `${label} ${files}`, '/s', filesPerSecond);
        await subject.settle();
      }
    },
  },
  {
    name: 'random',
    strong: false,
    space: ({ randomBytes }) => randomBytes * COPIES * 8,
    run: async (subject, size, results) => {
      await runLoad('prepareRandom', subject.directory, size);
      for (const [name, label] of [
        ['writeRandom', '4 KiB random write'],
        ['readRandom', '4 KiB random read, first after writing'],
        ['readRandom', '4 KiB random read, warm'],
      ] as const) {
        await subject.settle();
        // As with streams: what has been read before, all of it.
        if (label.endsWith('warm')) await runLoad('readRandomFile', subject.directory, size);
        const { operationsPerSecond } = await runLoad(name, subject.directory, size);
        results.add(subject.side, `${label}, ${gib(size.randomBytes)}`, '/s', operationsPerSecond);
      }
    },
  },
  {
    name: 'read-only',
    strong: false,
    space: ({ streamBytes, randomBytes }) => (streamBytes + randomBytes) * (COPIES + 1) * 2,
    run: async (subject, size, results) => {
      await runLoad('writeStream', subject.directory, size);
      await runLoad('prepareRandom', subject.directory, size);
      for (const how of ['read by the kernel', 'read through the daemon'] as const) {
        await subject.settle();
        const isMount = subject instanceof MountSubject;
        if (isMount) await subject.mountReadOnly(how === 'read by the kernel');
        // The second time makes a copy; from the third on it is warm on every side.
        for (let i = 0; i < 2; i++) {
          await runLoad('readStream', subject.directory, size);
          await runLoad('readRandom', subject.directory, size);
        }
        if (isMount && how === 'read by the kernel') await subject.copied(size.streamBytes + size.randomBytes);
        const label = (what: string) => `${what}, read-only mount, ${how}`;
        const { bytesPerSecond } = await runLoad('readStream', subject.directory, size);
        results.add(subject.side, label(`sequential read, warm ${gib(size.streamBytes)}`), 'bytes/s', bytesPerSecond);
        if (await isRunnable('python3')) {
          const mapped = await runLoad('readMapped', subject.directory, size);
          results.add(subject.side, label('mapped read, a byte of each page'), 'bytes/s', mapped['bytesPerSecond']);
        }
        const { operationsPerSecond } = await runLoad('readRandom', subject.directory, size);
        results.add(subject.side, label('4 KiB random read'), '/s', operationsPerSecond);
        if (isMount) await subject.mountAgain();
      }
    },
  },
  {
    name: 'writeback',
    strong: false,
    space: ({ randomBytes, streamBytes }) => (randomBytes + streamBytes) * COPIES * 4,
    run: async (subject, size, results) => {
      await runLoad('prepareRandom', subject.directory, size);
      await subject.settle();
      if (subject instanceof MountSubject) await subject.mountWriteback();
      const label = (what: string) => `${what}, writeback mount`;
      const random = await runLoad('writeRandom', subject.directory, size);
      results.add(subject.side, label('4 KiB random write'), '/s', random['operationsPerSecond']);
      await subject.settle();
      const files = await runLoad('smallFiles', subject.directory, size);
      results.add(subject.side, label('create, write 4 KiB, close'), '/s', files['create']);
      await subject.settle();
      const { bytesPerSecond } = await runLoad('writeStream', subject.directory, size);
      results.add(subject.side, label('sequential write'), 'bytes/s', bytesPerSecond);
      await subject.settle();
      if (subject instanceof MountSubject) await subject.mountAgain();
    },
  },
  synced('default mode', false),
  synced('strong mode', true),
  {
    name: 'sqlite',
    strong: true,
    space: () => 2 ** 30,
    run: async (subject, size, results) => {
      for (const [name, journal] of [
        ['walTransactions', 'WAL'],
        ['deleteTransactions', 'DELETE'],
      ] as const) {
        await subject.settle();
        const label = `SQLite transactions, ${journal}, FULL, strong mode`;
        await withFlushes(subject, results, `SQLite transaction, ${journal}`, async () => {
          const { operationsPerSecond, operations = 0 } = await runLoad(name, subject.directory, size);
          results.add(subject.side, label, '/s', operationsPerSecond);
          return operations;
        });
      }
    },
  },
  {
    name: 'commit',
    strong: false,
    alone: { on: 'tmpfs', noTimer: true },
    space: ({ streamBytes }) => streamBytes * COPIES,
    run: async (subject, size, results) => {
      await runLoad('writeStream', subject.directory, size);
      const { bytesDone, elapsedMs } = await mountOf(subject).commit();
      if (bytesDone < size.streamBytes) {
        results.note(`Of ${size.streamBytes} bytes only ${bytesDone} were left to be committed: pressure was quicker.`);
      }
      const label = `commit ${gib(size.streamBytes)}, everything on tmpfs`;
      results.add(subject.side, label, 'bytes/s', bytesDone / (elapsedMs / 1000));
    },
  },
  {
    name: 'memory',
    strong: false,
    alone: { on: 'directory', once: true },
    space: ({ copyBytes }) => copyBytes * COPIES,
    run: async (subject, size, results) => {
      const mount = mountOf(subject);
      const { bytesPerSecond } = await runLoad('copyIn', subject.directory, size);
      await mount.commit();
      results.add(subject.side, `copy in ${gib(size.copyBytes)}`, 'bytes/s', bytesPerSecond);
      results.add(
        subject.side,
        'highest resident memory of the daemon meanwhile',
        'bytes',
        peakResidentBytes(mount.pid),
      );
    },
  },
  {
    name: 'idle',
    strong: false,
    alone: { on: 'directory', once: true },
    space: () => 2 ** 28,
    run: async (subject, size, results) => {
      const { pid } = mountOf(subject);
      await runLoad('smallFiles', subject.directory, size);
      await subject.settle();
      await delay(CALM_MS);
      const before = wakeupCount(pid);
      await delay(IDLE_MS);
      results.add(
        subject.side,
        'wakeups of an idle daemon, all threads',
        '/s',
        (wakeupCount(pid) - before) / (IDLE_MS / 1000),
      );
      results.add(subject.side, 'resident memory of an idle daemon', 'bytes', residentBytes(pid));
    },
  },
  {
    name: 'many-files',
    strong: false,
    alone: { on: 'directory', once: true },
    space: ({ manyFiles }) => manyFiles * 2 ** 11,
    run: async (subject, size, results) => {
      const few = { ...size, smallFiles: 10_000 };
      const step = async (when: string) => {
        await subject.settle();
        const figures = await runLoad('smallFiles', subject.directory, few);
        for (const what of ['create', 'stat', 'unlink'])
          results.add(subject.side, `${what}, ${when}`, '/s', figures[what]);
      };
      // Not in the figures: what the daemon's compiler does once.
      await runLoad('smallFiles', subject.directory, few);
      await step('beside no other files');
      await mountOf(subject).addFiles(size.manyFiles);
      await step(`beside ${size.manyFiles.toLocaleString('en-US')} files`);
      const label = 'highest resident memory of the daemon with so many files';
      results.add(subject.side, label, 'bytes', peakResidentBytes(mountOf(subject).pid));
    },
  },
];

function synced(mode: string, strong: boolean): Measurement {
  return {
    name: 'fsync',
    strong,
    space: () => 2 ** 30,
    run: async (subject, size, results) => {
      await runLoad('prepareSynced', subject.directory, size);
      await subject.settle();
      await withFlushes(subject, results, `such fsync, ${mode}`, async () => {
        const { operationsPerSecond, operations = 0 } = await runLoad('writeSynced', subject.directory, size);
        results.add(subject.side, `4 KiB overwrite + fsync, ${mode}`, '/s', operationsPerSecond);
        return operations;
      });
    },
  };
}

/** Also tells how many flushes each of the operations took, of which `work` says how many there were. */
async function withFlushes(subject: Subject, results: Results, what: string, work: () => Promise<number>) {
  // the device cannot be asked about a fuse mount: the directory around it lies on it
  const beside = `${subject.directory}/..`;
  const before = flushCount(beside);
  const operations = await work();
  const after = flushCount(beside);
  if (before === undefined || after === undefined) return;
  results.add(subject.side, `flushes of the device per ${what}`, 'flushes/op', (after - before) / operations);
  results.note('Flushes are those of the whole device: other programs that use it are counted too.');
}

function mountOf(subject: Subject): MountSubject {
  if (!(subject instanceof MountSubject)) throw new Error('this is measured on a mount only');
  return subject;
}

function gib(bytes: number): string {
  return bytes >= 2 ** 30 ? `${bytes / 2 ** 30} GiB` : `${bytes / 2 ** 20} MiB`;
}
