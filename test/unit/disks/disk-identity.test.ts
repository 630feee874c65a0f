import { join } from 'node:path';
import t from 'tap';
import type { DiskIdentity } from '../../../src/disks/disk.js';
import {
  createDisk,
  decodeIdentity,
  defaultSegmentBytes,
  IDENTITY_FILE,
  readIdentity,
  readWritableIdentity,
} from '../../../src/disks/disk-identity.js';
import { NodeFileIo } from '../../../src/io/node-file-io.js';
import { MemoryFileIo } from './memory-file-io.js';

const MIB = 1024 * 1024;
const IDENTITY: DiskIdentity = {
  format: 1,
  pool: 'aa'.repeat(16),
  uuid: 'bb'.repeat(16),
  number: 3,
  role: 'data',
  capacityBytes: 64 * MIB,
  ...defaultSegmentBytes(64 * MIB),
};

t.test('a disk that was made is read back', async (t) => {
  const io = new MemoryFileIo();
  await createDisk(io, '/disk', IDENTITY);
  t.strictSame(await readIdentity(io, '/disk'), IDENTITY);
});

t.test('what is there already is not made a disk', async (t) => {
  const io = new MemoryFileIo();
  await createDisk(io, '/disk', IDENTITY);
  await t.rejects(createDisk(io, '/disk', { ...IDENTITY, pool: 'cc'.repeat(16) }), {
    code: 'EXISTS',
    message: /already is a disk, of pool aaaa/,
  });
  await io.replaceFile('/photos/one.jpg', Buffer.from('x'));
  await t.rejects(createDisk(io, '/photos', IDENTITY), { code: 'NOT_EMPTY', message: /one\.jpg/ });
  await io.makeDirectory('/fresh/lost+found');
  await createDisk(io, '/fresh', IDENTITY);
});

t.test(
  'a disk that may be written is known in one job, and in several where the files offer no such job',
  async (t) => {
    const real = new NodeFileIo();
    for (const [io, root] of [
      [real, t.testdir()],
      [new MemoryFileIo(), '/'],
    ] as const) {
      const directory = join(root, 'disk');
      await createDisk(io, directory, IDENTITY);
      t.strictSame(await readWritableIdentity(io, directory), IDENTITY);
      await t.rejects(readWritableIdentity(io, join(root, 'nothing')), {
        code: 'DISK_MISSING',
        message: /is not there/,
      });
      await io.makeDirectory(join(root, 'empty'));
      await t.rejects(readWritableIdentity(io, join(root, 'empty')), {
        code: 'DISK_MISSING',
        message: /is not a disk/,
      });
      await io.replaceFile(join(directory, IDENTITY_FILE), Buffer.from('{}'));
      await t.rejects(readWritableIdentity(io, directory), { code: 'CORRUPT' });
    }
    t.equal(typeof real.readWritable, 'function');
  },
);

t.test('a missing directory and an empty one are missing disks', async (t) => {
  const io = new MemoryFileIo();
  await t.rejects(readIdentity(io, '/nothing'), { code: 'DISK_MISSING' });
  await io.makeDirectory('/empty');
  await t.rejects(readIdentity(io, '/empty'), { code: 'DISK_MISSING', message: /is not a disk/ });
});

t.test('an identity that cannot be trusted is refused', async (t) => {
  const io = new MemoryFileIo();
  await createDisk(io, '/disk', IDENTITY);
  const bytes = await io.readFile(`/disk/${IDENTITY_FILE}`);
  for (let length = 0; length < bytes.length - 1; length++) {
    t.throws(() => decodeIdentity(bytes.subarray(0, length), '/disk'), { code: 'CORRUPT' });
  }
  for (let at = 0; at < bytes.length; at++) {
    const bad = Buffer.from(bytes);
    bad[at] = (bad[at] ?? 0) ^ 4;
    try {
      t.strictSame(decodeIdentity(bad, '/disk'), IDENTITY, 'only white space may change');
    } catch (error) {
      t.match(error, { code: 'CORRUPT' });
    }
  }
  for (const wrong of [
    { pool: 'x' },
    { uuid: 1 },
    { number: 0 },
    { role: 'tape' },
    { capacityBytes: 5 },
    { dataSegmentBytes: 100 },
  ]) {
    await t.rejects(createDisk(io, '/other', { ...IDENTITY, ...wrong } as DiskIdentity), { code: 'INVALID' });
  }
});

t.test('segments are large on large disks and several on small ones', async (t) => {
  t.strictSame(defaultSegmentBytes(6e12), { dataSegmentBytes: 256 * MIB, journalSegmentBytes: 16 * MIB });
  for (const capacity of [4 * MIB, 10_000_000, 64 * MIB, 1024 * MIB]) {
    const { dataSegmentBytes, journalSegmentBytes } = defaultSegmentBytes(capacity);
    t.ok(dataSegmentBytes * 8 <= capacity);
    t.ok(journalSegmentBytes * 8 <= capacity);
    await createDisk(new MemoryFileIo(), '/disk', {
      ...IDENTITY,
      capacityBytes: capacity,
      dataSegmentBytes,
      journalSegmentBytes,
    });
  }
});
