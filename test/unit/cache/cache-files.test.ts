import { existsSync, mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { CacheFiles } from '../../../src/cache/cache-files.js';
import { CairnError, hasCode } from '../../../src/errors/cairn-error.js';
import type { IoFile, OpenOptions } from '../../../src/io/file-io.js';
import { NodeFileIo } from '../../../src/io/node-file-io.js';

const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
t.comment(`SEED=${seed}`);

/** The real machine, which notes what is opened, closed and synced, and fails where told. */
class WatchedIo extends NodeFileIo {
  /** Paths relative to the root: `open a`, `close a`, `datasync a`, `syncDirectory a`. */
  readonly calls: string[] = [];
  openCount = 0;
  readonly failing = new Set<string>();

  constructor(readonly root: string) {
    super();
  }

  override openNow(path: string, options: OpenOptions): IoFile {
    const file = super.openNow(path, options);
    this.#note('open', path);
    this.openCount++;
    const { close, datasync } = file;
    return Object.assign(file, {
      close: async () => {
        await close.call(file);
        this.openCount--;
        this.#note('close', path);
      },
      datasync: async () => {
        await datasync.call(file);
        this.#note('datasync', path);
      },
    });
  }

  override async syncDirectory(path: string): Promise<void> {
    await super.syncDirectory(path);
    this.#note('syncDirectory', path);
  }

  #note(what: string, path: string): void {
    const call = `${what} ${path.slice(this.root.length + 1)}`;
    this.calls.push(call);
    if (this.failing.has(call)) throw new CairnError('IO', `${call} fails`);
  }
}

async function setup(t: Test, openFiles?: number): Promise<{ io: WatchedIo; root: string; files: CacheFiles }> {
  const root = t.testdir();
  const io = new WatchedIo(root);
  const files = await CacheFiles.open(io, `${root}/files`, openFiles === undefined ? {} : { openFiles });
  io.calls.length = 0;
  return { io, root, files };
}

function text(files: CacheFiles, ino: number, position: number, length: number): string {
  const into = Buffer.alloc(length);
  return into.toString('latin1', 0, files.readNow(ino, position, into));
}

t.test('a file is made by its first write, in the directory of its neighbours', async (t) => {
  const { io, root, files } = await setup(t);
  t.equal(files.file(5, false), undefined);
  t.same(statSync(`${root}/files`).isDirectory(), true);
  t.notOk(existsSync(`${root}/files/00`), 'directories are made when they are needed');
  const big = 2 ** 40 + 0x1234;
  files.writeNow(5, 0, Buffer.from('hello'));
  files.writeNow(5, 1 << 30, Buffer.from('far'));
  files.writeNow(0x1234, 2, Buffer.from('x'));
  files.writeNow(big, 0, Buffer.from('y'));
  t.equal(text(files, 5, 1, 3), 'ell');
  t.equal(text(files, 5, 1 << 30, 100), 'far', 'short at the end');
  t.equal(text(files, 0x1234, 0, 5), '\0\0x');
  t.ok(statSync(`${root}/files/00/5`).blocks < 100, 'it is sparse');
  t.ok(existsSync(`${root}/files/12/1234`));
  t.ok(existsSync(`${root}/files/12/${big.toString(16)}`));
  await files.punch(5, 0, 4096);
  t.equal(text(files, 5, 0, 5), '\0\0\0\0\0');
  io.space = async () => ({ totalBytes: 12, freeBytes: 7 });
  t.same(await files.space(), { totalBytes: 12, freeBytes: 7 });
  await files.close();
});

t.test('what was there at the start is listed, once; what is not ours is left alone', async (t) => {
  const { io, root, files } = await setup(t);
  const inos = [1, 255, 256, 65_535, 65_536, 2 ** 40, Number.MAX_SAFE_INTEGER];
  for (const ino of inos) files.writeNow(ino, 0, Buffer.from(`of ${ino}`));
  await files.close();
  mkdirSync(`${root}/files/07`);
  mkdirSync(`${root}/files/notes`);
  for (const foreign of ['00/100', '00/01', '00/1G', '00/1.tmp', '07/ffffffffffffff', 'notes/1']) {
    writeFileSync(`${root}/files/${foreign}`, '');
  }
  const again = await CacheFiles.open(io, `${root}/files`);
  const sorted = again.list().sort((a, b) => a - b);
  t.same(sorted, inos);
  t.same(again.list(), []);
  for (const ino of inos) t.equal(text(again, ino, 0, 100), `of ${ino}`);
  for (const ino of inos) await again.remove(ino);
  await again.close();
  t.same((await CacheFiles.open(io, `${root}/files`)).list(), []);
  t.ok(existsSync(`${root}/files/notes/1`));
});

t.test('descriptors are recycled; one in use is not, a pinned one never', async (t) => {
  const { io, files } = await setup(t, 8);
  const pinned = files.pin(1, true);
  for (let ino = 2; ino < 300; ino++) {
    files.writeNow(ino, 0, Buffer.from(`of ${ino}`));
    files.writeNow(2, 0, Buffer.from('of 2'));
    if (ino % 10 === 0) await files.remove(ino - 5);
    t.ok(files.file(ino, false)?.fd !== undefined, 'the one just opened is open');
  }
  pinned.file.writeNow([Buffer.from('of 1')], 0);
  for (let ino = 1; ino < 300; ino++) {
    if (ino > 2 && ino < 295 && ino % 10 === 5) t.equal(files.file(ino, false), undefined);
    else t.equal(text(files, ino, 0, 100), `of ${ino}`);
  }
  await files.remove(7);
  t.ok(io.openCount <= 8, `${io.openCount} are open`);
  const opened = (ino: number) => io.calls.filter((call) => call === `open files/00/${ino.toString(16)}`).length;
  t.equal(opened(1), 1);
  t.ok(opened(2) <= 3, `the one used all the time was opened ${opened(2)} times`);

  const pins = Array.from({ length: 200 }, (_, index) => files.pin(1000 + index, true));
  for (const [index, pin] of pins.entries()) pin.file.writeNow([Buffer.from(`pin ${index}`)], 0);
  t.ok(io.openCount >= 200, 'pins go beyond the bound');
  for (const pin of pins) pin.release();
  for (let ino = 2000; ino < 2100; ino++) files.writeNow(ino, 0, Buffer.from('z'));
  await files.remove(2000);
  t.ok(io.openCount <= 8, `back to ${io.openCount}`);
  for (const index of pins.keys()) t.equal(text(files, 1000 + index, 0, 9), `pin ${index}`);
  pinned.release();
  t.throws(() => pinned.release(), /assertion/);
  await files.close();
  t.equal(io.openCount, 0);
});

t.test('a pinned file outlives its removal, beside a new one of the same inode', async (t) => {
  const { io, root, files } = await setup(t);
  files.writeNow(9, 0, Buffer.from('old'));
  const first = files.pin(9, true);
  const second = files.pin(9, false);
  const removed = files.remove(9);
  t.notOk(existsSync(`${root}/files/00/9`), 'the name is gone at once');
  t.equal(files.file(9, false), undefined);
  t.equal(files.pin(9, false), undefined);
  files.writeNow(9, 0, Buffer.from('newer'));
  await removed;
  const into = Buffer.alloc(9);
  t.equal(into.toString('latin1', 0, first.file.readNow(into, 0)), 'old');
  first.release();
  t.equal(into.toString('latin1', 0, second!.file.readNow(into, 0)), 'old');
  t.equal(io.openCount, 2);
  second!.release();
  t.equal(text(files, 9, 0, 9), 'newer');
  await files.remove(9);
  t.equal(io.openCount, 0);
  await files.remove(9);
  await files.remove(2 ** 30);
  await files.datasync(9);
  await files.punch(9, 0, 10);
  await files.close();
});

t.test('the first sync makes the name durable too, later ones only the bytes', async (t) => {
  const { io, files } = await setup(t);
  files.writeNow(1, 0, Buffer.from('a'));
  await files.datasync(1);
  t.same(io.calls.splice(0).sort(), [
    'datasync files/00/1',
    'open files/00/1',
    'syncDirectory files',
    'syncDirectory files/00',
  ]);
  await files.datasync(1);
  t.same(io.calls.splice(0), ['datasync files/00/1']);
  files.writeNow(2, 0, Buffer.from('b'));
  await files.datasync(2);
  t.same(io.calls.splice(0).sort(), ['datasync files/00/2', 'open files/00/2', 'syncDirectory files/00']);
  files.writeNow(256, 0, Buffer.from('c'));
  files.writeNow(257, 0, Buffer.from('d'));
  await Promise.all([files.datasync(256), files.datasync(257)]);
  const calls = io.calls.splice(0);
  t.equal(calls.filter((call) => call === 'syncDirectory files').length, 2, 'each waits for a sync of its own');
  await files.close();
});

for (const failing of ['datasync files/00/7', 'syncDirectory files/00', 'syncDirectory files']) {
  t.test(
    `after a failed ${failing.split(' ')[0]} of ${failing.split(' ')[1]} no sync of the file is believed until it is removed`,
    async (t) => {
      const { io, files } = await setup(t);
      const lost: number[] = [];
      let suspicions = 0;
      files.onLoss = (ino) => lost.push(ino);
      files.onFailure = () => {
        suspicions += 1;
      };
      files.writeNow(7, 0, Buffer.from('lost?'));
      io.failing.add(failing);
      const failed = (error: unknown) =>
        hasCode(error, 'IO') && error.hint !== undefined && error.cause instanceof Error;
      const syncs = await Promise.allSettled([files.datasync(7), files.datasync(7)]);
      for (const sync of syncs) t.ok(sync.status === 'rejected' && hasCode(sync.reason, 'IO'));
      t.ok(syncs.some((sync) => sync.status === 'rejected' && failed(sync.reason)));
      io.failing.clear();
      t.strictSame([...new Set(lost)], [7], 'the owner is told');
      t.ok(suspicions > 0);
      t.ok(files.isDoubtful(7));
      t.equal(text(files, 7, 0, 5), 'lost?', 'what the kernel still has can be saved');
      files.writeNow(7, 0, Buffer.from('more?'));
      await t.rejects(files.datasync(7), { code: 'IO' }, 'a later sync does not succeed for what the first has lost');
      files.writeNow(8, 0, Buffer.from('other'));
      await files.datasync(8);
      await files.remove(7);
      t.notOk(files.isDoubtful(7));
      files.writeNow(7, 0, Buffer.from('again'));
      await files.datasync(7);
      t.equal(text(files, 7, 0, 9), 'again');
      await files.close();
      t.equal(io.openCount, 0);
    },
  );
}

t.test('a failed close of a recycled descriptor counts as a lost write', async (t) => {
  const { io, files } = await setup(t, 1);
  const lost: number[] = [];
  files.onLoss = (ino) => lost.push(ino);
  io.failing.add('close files/00/7');
  files.writeNow(7, 0, Buffer.from('a'));
  for (const ino of [8, 9, 10]) files.writeNow(ino, 0, Buffer.from('b'));
  await files.remove(8);
  t.strictSame(lost, [7]);
  await t.rejects(files.datasync(7), { code: 'IO' });
  io.failing.clear();
  await files.remove(7);
  t.equal(files.file(7, false), undefined);
  await files.close();
});

t.test('a write that the device refuses makes it suspect, a full device does not', async (t) => {
  const { files } = await setup(t);
  const causes: unknown[] = [];
  files.onFailure = (cause) => causes.push(cause);
  const file = files.file(7, true);
  const refuse = (code: 'IO' | 'NO_SPACE') =>
    Object.assign(file, {
      writeNow: () => {
        throw new CairnError(code, 'the device says no');
      },
    });
  refuse('NO_SPACE');
  t.throws(() => files.writeNow(7, 0, Buffer.from('b')), { code: 'NO_SPACE' });
  t.equal(causes.length, 0);
  refuse('IO');
  t.throws(() => files.writeNow(7, 0, Buffer.from('b')), { code: 'IO' });
  t.equal(causes.length, 1);
  t.notOk(files.isDoubtful(7), 'what was written before is not in question');
  await files.close();
});

t.test('a failed writeback is told once, and no sync of the file is believed after it', async (t) => {
  const { files } = await setup(t);
  const lost: number[] = [];
  files.onLoss = (ino) => lost.push(ino);
  t.equal(files.writebackFailure(7), undefined, 'there is no file');
  files.writeNow(7, 0, Buffer.from('a'));
  t.equal(files.writebackFailure(7), undefined, 'the kernel has nothing to tell');
  let failures = 1;
  Object.assign(files.file(7, true), {
    checkWriteback: () => {
      if (failures-- > 0) throw new CairnError('IO', 'written back in vain');
    },
  });
  t.match(files.writebackFailure(7), { code: 'IO' });
  t.strictSame(lost, [7]);
  t.equal(files.writebackFailure(7), undefined);
  await t.rejects(files.datasync(7), { code: 'IO' });
  await files.close();
});

t.test('a file that vanished is an I/O error, not an absent one', async (t) => {
  const { files } = await setup(t);
  t.throws(() => text(files, 3, 0, 1), { code: 'IO' });
  await files.close();
  t.throws(() => files.writeNow(3, 0, Buffer.from('x')), /assertion/);
});

t.test('a cache that has been deleted is an I/O error of the device, not an absent file', async (t) => {
  const { files, root } = await setup(t);
  files.writeNow(3, 0, Buffer.from('x'));
  rmSync(`${root}/files`, { recursive: true });
  const causes: unknown[] = [];
  files.onFailure = (cause) => causes.push(cause);
  t.throws(() => files.writeNow(4, 0, Buffer.from('x')), { code: 'IO', message: /gone from/, hint: /unmount/ });
  t.match(causes, [{ code: 'IO' }]);
  t.equal(text(files, 3, 0, 1), 'x', 'what is open can be read');
  await files.close();
});

t.test('closing refuses what is pinned', async (t) => {
  const { files } = await setup(t);
  const pin = files.pin(3, true);
  await t.rejects(files.close(), /assertion/);
  pin.release();
  await files.close();
});

t.test('any order of changes reads as a map of byte strings would', async (t) => {
  const change = fc.record({
    kind: fc.constantFrom('write', 'write', 'write', 'remove', 'punch', 'sync', 'wait', 'reopen'),
    ino: fc.integer({ min: 250, max: 262 }),
    at: fc.nat(9000),
    length: fc.integer({ min: 1, max: 5000 }),
    fill: fc.integer({ min: 1, max: 255 }),
  });
  const root = t.testdir();
  let run = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(change, { maxLength: 60, size: 'max' }), async (changes) => {
      const directory = `${root}/${run++}`;
      const io = new NodeFileIo();
      let files = await CacheFiles.open(io, directory, { openFiles: 3 });
      const model = new Map<number, Buffer>();
      let waiting: Promise<void>[] = [];
      for (const { kind, ino, at, length, fill } of changes) {
        const before = model.get(ino) ?? Buffer.alloc(0);
        if (kind === 'write') {
          files.writeNow(ino, at, Buffer.alloc(length, fill));
          const after = Buffer.alloc(Math.max(before.length, at + length));
          before.copy(after);
          model.set(ino, after.fill(fill, at, at + length));
        } else if (kind === 'remove') {
          waiting.push(files.remove(ino));
          model.delete(ino);
        } else if (kind === 'punch') {
          await files.punch(ino, at, length);
          before.fill(0, Math.min(at, before.length), Math.min(at + length, before.length));
        } else if (kind === 'sync') {
          waiting.push(files.datasync(ino));
        } else {
          await Promise.all(waiting);
          waiting = [];
          if (kind === 'reopen') {
            await files.close();
            files = await CacheFiles.open(io, directory, { openFiles: 3 });
            const listed = files.list().sort((a, b) => a - b);
            const present = [...model.keys()].sort((a, b) => a - b);
            if (`${listed}` !== `${present}`) throw new Error(`listed ${listed}, present ${present}`);
          }
        }
        const expected = model.get(ino);
        if (expected === undefined) {
          if (files.file(ino, false) !== undefined) throw new Error(`${ino} is still there`);
          continue;
        }
        const read = Buffer.alloc(expected.length + 1);
        if (files.readNow(ino, 0, read) !== expected.length) throw new Error(`${ino} has the wrong length`);
        if (!read.subarray(0, expected.length).equals(expected)) throw new Error(`${ino} has the wrong bytes`);
      }
      await Promise.all(waiting);
      await files.close();
    }),
    { seed, numRuns: 40 },
  );
});
