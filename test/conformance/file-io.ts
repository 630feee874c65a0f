/**
 * What every FileIo must do: one suite for the real machine, the simulated one and every decorator. That unsynced writes can be lost is
 * not tested here: it needs a machine that loses them.
 */
import fc from 'fast-check';
import type { Test } from 'tap';
import { loadAddon } from '../../native/addon.js';
import { type ErrorCode, hasCode } from '../../src/errors/cairn-error.js';
import type { FileIo, IoFile } from '../../src/io/file-io.js';

/** A FileIo and an empty directory of its own that exists. Called once for each test. */
export type FileIoFixture = (t: Test) => Promise<{ io: FileIo; root: string }>;

const { crc32c } = loadAddon();
const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
const FILE_LIMIT_BYTES = 40_000;

export function fileIoSuite(t: Test, fixture: FileIoFixture): void {
  const named = (name: string, run: (t: Test, io: FileIo, root: string) => Promise<void>): void => {
    t.test(name, async (t) => {
      const { io, root } = await fixture(t);
      await run(t, io, root);
    });
  };

  named('open: create, exclusive, readOnly', async (t, io, root) => {
    const path = `${root}/file`;
    await rejectsWith(t, io.open(path, {}), 'NOT_FOUND');
    await rejectsWith(t, io.open(path, { readOnly: true }), 'NOT_FOUND');
    const made = await io.open(path, { create: true, exclusive: true });
    t.equal(made.path, path);
    made.writeNow([bytes('kept')], 0);
    await rejectsWith(t, io.open(path, { create: true, exclusive: true }), 'EXISTS');
    const again = await io.open(path, { create: true });
    t.equal(await text(again, 0, 10), 'kept', 'opening does not truncate');
    const readOnly = await io.open(path, { readOnly: true });
    t.equal(await text(readOnly, 0, 10), 'kept');
    await t.rejects(readOnly.write([bytes('x')], 0));
    t.throws(() => readOnly.writeNow([bytes('x')], 0));
    t.equal(await text(again, 0, 10), 'kept');
    await Promise.all([made.close(), again.close(), readOnly.close()]);
    await rejectsWith(t, io.open(`${root}/no/such`, { create: true }), 'NOT_FOUND');
  });

  named('on the calling thread: openNow, makeDirectoryNow, removeNow', async (t, io, root) => {
    io.makeDirectoryNow(`${root}/a/b`);
    io.makeDirectoryNow(`${root}/a/b`);
    const path = `${root}/a/b/file`;
    throwsWith(t, () => io.openNow(path, {}), 'NOT_FOUND');
    const file = io.openNow(path, { create: true, exclusive: true });
    t.equal(file.path, path);
    file.writeNow([bytes('kept')], 0);
    throwsWith(t, () => io.openNow(path, { create: true, exclusive: true }), 'EXISTS');
    const again = io.openNow(path, { create: true });
    t.equal(textNow(again, 0, 10), 'kept', 'opening does not truncate');
    await again.close();
    io.removeNow(path);
    t.equal(textNow(file, 0, 10), 'kept', 'a removed file that is open stays readable');
    t.same(await io.list(`${root}/a/b`), []);
    throwsWith(t, () => io.removeNow(path), 'NOT_FOUND');
    await file.close();
  });

  named('what is written is read at once, through every handle', async (t, io, root) => {
    const writer = await io.open(`${root}/file`, { create: true });
    const reader = await io.open(`${root}/file`, { readOnly: true });
    await writer.write([bytes('one'), bytes(''), bytes('two')], 0);
    t.equal(await text(reader, 0, 6), 'onetwo');
    writer.writeNow([bytes('TWO'), bytes('three')], 3);
    t.equal(await text(reader, 0, 100), 'oneTWOthree', 'a read is short only at the end');
    t.equal(textNow(reader, 3, 3), 'TWO');
    t.equal(textNow(reader, 9, 100), 'ee');
    await writer.writeAndDatasync([bytes('!')], 11);
    await writer.datasync();
    await writer.writeAndDatasync([], 0);
    t.equal(await text(reader, 10, 100), 'e!');
    t.equal(await text(reader, 12, 5), '', 'nothing is read at the end');
    t.equal(textNow(reader, 1_000_000, 5), '', 'nor beyond it');
    t.equal(await reader.read(new Uint8Array(0), 0), 0);
    await writer.write([], 500);
    writer.writeNow([bytes('')], 500);
    t.equal(await writer.size(), 12, 'writing nothing does not make the file longer');
    await Promise.all([writer.close(), reader.close()]);
  });

  named('a write far beyond the end leaves zeros between', async (t, io, root) => {
    const file = await io.open(`${root}/file`, { create: true });
    await file.write([bytes('end')], 3_000_000_000);
    t.equal(await file.size(), 3_000_000_003);
    t.equal(await text(file, 2_999_999_998, 100), '\0\0end');
    await file.close();
  });

  named('more parts than one system call takes are written in order', async (t, io, root) => {
    const file = await io.open(`${root}/file`, { create: true });
    const parts = Array.from({ length: 2500 }, (_, i) => new Uint8Array(i % 5).fill(i % 251));
    const whole = Buffer.concat(parts);
    await file.write(parts, 7);
    file.writeNow(parts, 7 + whole.length);
    await file.writeAndDatasync(parts, 7 + 2 * whole.length);
    const read = Buffer.alloc(7 + 3 * whole.length);
    t.equal(await file.read(read, 0), read.length);
    t.ok(read.equals(Buffer.concat([Buffer.alloc(7), whole, whole, whole])));
    await file.close();
  });

  named('the caller may change the list of parts once the call has returned', async (t, io, root) => {
    const file = await io.open(`${root}/file`, { create: true });
    const parts = [bytes('right')];
    const written = file.write(parts, 0);
    parts[0] = bytes('wrong');
    await written;
    t.equal(await text(file, 0, 100), 'right');
    await file.close();
  });

  named('close waits for what is under way', async (t, io, root) => {
    const file = await io.open(`${root}/file`, { create: true });
    const work = Array.from({ length: 8 }, (_, i) =>
      file.writeAndDatasync([new Uint8Array(100_000).fill(i + 1)], i * 100_000),
    );
    const [, ...writes] = await Promise.allSettled([file.close(), ...work]);
    t.ok(writes.every((write) => write.status === 'fulfilled'));
    const whole = await io.readFile(`${root}/file`);
    t.equal(whole.length, 800_000);
    for (let i = 0; i < 8; i++) t.equal(whole[i * 100_000 + 99_999], i + 1);
    t.throws(() => file.writeNow([bytes('x')], 0), 'a closed file is refused');
    t.throws(() => file.readNow(new Uint8Array(1), 0));
  });

  named('a read with sums, where there is one, reads as a plain one does', async (t, io, root) => {
    const file = await io.open(`${root}/file`, { create: true });
    await file.write([Buffer.from(Array.from({ length: 30_000 }, (_, i) => i * 7))], 0);
    const head = Buffer.alloc(100);
    const body = Buffer.alloc(20_000);
    const sums = new Uint32Array(5);
    for (const position of [0, 11, 15_000, 29_950, 40_000]) {
      const plain = Buffer.alloc(20_100);
      const bytes = await file.read(plain, position);
      const got = await file.readSummed?.(head, body, position, sums, 4096);
      if (got === undefined) return;
      t.equal(got, bytes);
      t.ok(Buffer.concat([head, body]).subarray(0, bytes).equals(plain.subarray(0, bytes)));
      for (let from = 0; from < bytes - 100; from += 4096)
        t.equal(sums[from / 4096], crc32c(body, from, Math.min(bytes - 100, from + 4096), 0));
    }
    await file.close();
  });

  named('truncate, allocate and punch', async (t, io, root) => {
    const file = await io.open(`${root}/file`, { create: true });
    await file.write([new Uint8Array(100_000).fill(1)], 0);
    await file.truncate(50_000);
    await file.truncate(60_000);
    t.equal(await file.size(), 60_000);
    t.same(await sums(file, [0, 50_000, 60_000]), [50_000, 0], 'what was cut off does not come back');
    await file.allocate(0, 1 << 20);
    await file.allocate(1 << 20, 0);
    t.equal(await file.size(), 60_000, 'allocating does not make the file longer');
    t.same(await sums(file, [0, 50_000, 60_000]), [50_000, 0]);
    await file.punch(10_001, 20_000);
    await file.punch(0, 0);
    t.same(await sums(file, [0, 10_001, 30_001, 50_000]), [10_001, 0, 19_999]);
    await file.punch(49_000, 1 << 20);
    t.equal(await file.size(), 60_000, 'nor does punching beyond the end');
    t.same(await sums(file, [30_001, 49_000, 60_000]), [18_999, 0]);
    await file.close();
  });

  named('directories and names', async (t, io, root) => {
    await rejectsWith(t, io.list(`${root}/a`), 'NOT_FOUND');
    await io.makeDirectory(`${root}/a/b/c`);
    await io.makeDirectory(`${root}/a/b/c`);
    t.same(await io.list(`${root}/a/b/c`), []);
    t.equal(await io.exists(`${root}/a/b`), true);
    t.equal(await io.exists(`${root}/a/x`), false);
    await write(io, `${root}/a/one`, '1');
    await write(io, `${root}/a/two`, '2');
    t.same((await io.list(`${root}/a`)).sort(), ['b', 'one', 'two']);
    await io.rename(`${root}/a/one`, `${root}/a/two`);
    t.same((await io.list(`${root}/a`)).sort(), ['b', 'two']);
    t.equal(String(await io.readFile(`${root}/a/two`)), '1', 'a rename replaces');
    await io.rename(`${root}/a/two`, `${root}/a/b/three`);
    await io.syncDirectory(`${root}/a`);
    await io.syncDirectory(`${root}/a/b`);
    await rejectsWith(t, io.rename(`${root}/a/two`, `${root}/a/four`), 'NOT_FOUND');
    await rejectsWith(t, io.syncDirectory(`${root}/nowhere`), 'NOT_FOUND');
    await rejectsWith(t, io.readFile(`${root}/nowhere`), 'NOT_FOUND');
    await io.remove(`${root}/a/b/three`);
    await rejectsWith(t, io.remove(`${root}/a/b/three`), 'NOT_FOUND');
    t.equal(await io.exists(`${root}/a/b/three`), false);
  });

  named('reading ahead, where there is such a thing, changes nothing', async (t, io, root) => {
    const file = await io.open(`${root}/file`, { create: true });
    await file.write([bytes('0123456789')], 0);
    await file.readAhead?.(2, 1_000_000);
    t.equal(await file.size(), 10);
    const closing = [file.readAhead?.(0, 10), file.close()];
    await t.resolves(Promise.all(closing), 'it is closed after it');
    t.equal(String(await io.readFile(`${root}/file`)), '0123456789');
  });

  named('a file that may be written is read by its name at once, where that can be', async (t, io, root) => {
    if (io.readWritable === undefined) return;
    const into = Buffer.alloc(6, '-');
    await write(io, `${root}/file`, 'four');
    t.equal(await io.readWritable(`${root}/file`, into), 4);
    t.equal(String(into), 'four--');
    await write(io, `${root}/file`, 'longer than it');
    t.equal(await io.readWritable(`${root}/file`, into), 6);
    t.equal(String(into), 'longer');
    await rejectsWith(t, io.readWritable(`${root}/nowhere`, into), 'NOT_FOUND');
    await t.rejects(io.readWritable(root, into), 'a directory cannot be written');
  });

  named('a file that is removed or replaced while open stays readable', async (t, io, root) => {
    await write(io, `${root}/file`, 'old');
    const file = await io.open(`${root}/file`, {});
    await io.replaceFile(`${root}/file`, bytes('new'));
    t.equal(await text(file, 0, 10), 'old');
    await io.remove(`${root}/file`);
    file.writeNow([bytes('still')], 0);
    t.equal(await text(file, 0, 10), 'still');
    await file.close();
  });

  named('replaceFile', async (t, io, root) => {
    const path = `${root}/file`;
    await io.replaceFile(path, bytes('first, and longer'));
    await io.replaceFile(path, bytes('second'));
    t.equal(String(await io.readFile(path)), 'second');
    await Promise.all(Array.from({ length: 20 }, (_, i) => io.replaceFile(path, new Uint8Array(1000 + i).fill(i))));
    const last = await io.readFile(path);
    t.ok(last.equals(Buffer.alloc(1000 + (last[0] ?? 0), last[0])), 'the file is one of them, whole');
    t.same(await io.list(root), ['file'], 'nothing is left behind');
    await rejectsWith(t, io.replaceFile(`${root}/no/such`, bytes('x')), 'NOT_FOUND');
    await io.makeDirectory(`${root}/directory`);
    await t.rejects(io.replaceFile(`${root}/directory`, bytes('x')));
    t.same((await io.list(root)).sort(), ['directory', 'file'], 'nor after a failure');
  });

  named('one lock at a time', async (t, io, root) => {
    const lock = await io.lock(`${root}/lock`);
    await rejectsWith(t, io.lock(`${root}/lock`), 'LOCKED');
    const other = await io.lock(`${root}/other`);
    await lock.release();
    const again = await io.lock(`${root}/lock`);
    await lock.release();
    await rejectsWith(t, io.lock(`${root}/lock`), 'LOCKED', 'a second release does not free what another holds');
    await Promise.all([again.release(), other.release()]);
    await rejectsWith(t, io.lock(`${root}/no/such`), 'NOT_FOUND');
  });

  named('space and bootId', async (t, io, root) => {
    const { totalBytes, freeBytes } = await io.space(root);
    t.ok(totalBytes > 0 && freeBytes >= 0 && freeBytes <= totalBytes);
    await rejectsWith(t, io.space(`${root}/nowhere`), 'NOT_FOUND');
    t.match(io.bootId(), /^\S+$/);
    t.equal(io.bootId(), io.bootId());
  });

  named(`any order of changes reads as an array of bytes would (SEED=${seed})`, async (t, io, root) => {
    let run = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(change, { maxLength: 25 }), async (changes) => {
        const file = await io.open(`${root}/${run++}`, { create: true, exclusive: true });
        let model = Buffer.alloc(0);
        for (const { kind, at, length, fill } of changes) {
          model = applied(model, kind, at, length, fill);
          if (kind === 'write') await file.write([Buffer.alloc(length, fill)], at);
          else if (kind === 'writeNow')
            file.writeNow([Buffer.alloc(length >> 1, fill), Buffer.alloc(length - (length >> 1), fill)], at);
          else if (kind === 'sync') await file.writeAndDatasync([Buffer.alloc(length, fill)], at);
          else if (kind === 'truncate') await file.truncate(at);
          else if (kind === 'punch') await file.punch(at, length);
          else await file.allocate(at, length);
        }
        const read = Buffer.alloc(2 * FILE_LIMIT_BYTES);
        const got = await file.read(read, 0);
        const size = await file.size();
        await file.close();
        return size === model.length && read.subarray(0, got).equals(model);
      }),
      { seed, numRuns: 40 },
    );
    t.pass('all equal');
  });
}

const change = fc.record({
  kind: fc.constantFrom('write', 'writeNow', 'sync', 'truncate', 'punch', 'allocate'),
  at: fc.nat(FILE_LIMIT_BYTES),
  length: fc.nat(FILE_LIMIT_BYTES),
  fill: fc.integer({ min: 1, max: 255 }),
});

function applied(model: Buffer, kind: string, at: number, length: number, fill: number): Buffer<ArrayBuffer> {
  const size =
    kind === 'truncate'
      ? at
      : kind === 'punch' || kind === 'allocate' || length === 0
        ? model.length
        : Math.max(model.length, at + length);
  const next = Buffer.alloc(size);
  model.copy(next);
  if (kind === 'punch') next.fill(0, Math.min(at, size), Math.min(at + length, size));
  else if (kind !== 'truncate' && kind !== 'allocate') next.fill(fill, Math.min(at, size), Math.min(at + length, size));
  return next;
}

function bytes(value: string): Uint8Array {
  return Buffer.from(value);
}

async function text(file: IoFile, position: number, length: number): Promise<string> {
  const into = Buffer.alloc(length);
  return into.subarray(0, await file.read(into, position)).toString();
}

function textNow(file: IoFile, position: number, length: number): string {
  const into = Buffer.alloc(length);
  return into.subarray(0, file.readNow(into, position)).toString();
}

/** The sum of the bytes between each two offsets. */
async function sums(file: IoFile, offsets: readonly number[]): Promise<number[]> {
  const found: number[] = [];
  for (let i = 0; i + 1 < offsets.length; i++) {
    const into = Buffer.alloc(offsets[i + 1]! - offsets[i]!);
    await file.read(into, offsets[i]!);
    found.push(into.reduce((sum, byte) => sum + byte, 0));
  }
  return found;
}

async function write(io: FileIo, path: string, value: string): Promise<void> {
  const file = await io.open(path, { create: true });
  file.writeNow([bytes(value)], 0);
  await file.close();
}

function throwsWith(t: Test, run: () => unknown, code: ErrorCode): void {
  try {
    run();
    t.fail(`throws ${code}`);
  } catch (error) {
    t.ok(hasCode(error, code), code, { found: error });
  }
}

async function rejectsWith(t: Test, promise: Promise<unknown>, code: ErrorCode, what: string = code): Promise<void> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  t.ok(hasCode(error, code), what, { found: error });
}
