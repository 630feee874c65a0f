/** What a compressed chunk is stored as: these bytes, and no others are taken for one. */
import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import t from 'tap';
import { loadAddon } from '../../native/addon.js';
import {
  BLOCK_BYTES,
  compressChunk,
  decompressChunk,
  plainOf,
  readTable,
  tableBytes,
} from '../../src/chunks/compressed-chunk.js';
import { compressFrame, decompressFrame } from '../../src/chunks/zstd.js';
import { content, text } from '../unit/chunks/fixture.js';

const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
t.comment(`SEED=${seed}`);
const ZSTD = { method: 1, storedBytes: 0 };
const { crc32c } = loadAddon();

/** 300 times `ab`, compressed by zstd 1.5.6. */
const KNOWN = '5c2a4d180800000012000000fb61d31c28b52ffd00484d0000106162010053aa1c16';

t.test('a stored chunk is a table and zstd frames, and these bytes are read for good', async (t) => {
  const plain = Buffer.alloc(600, 'ab');
  const frame = compressFrame(plain);
  const table = Buffer.alloc(16);
  for (const [at, value] of [0x184d2a5c, 8, frame.length, crc32c(plain, 0, 600, 0)].entries())
    table.writeUInt32LE(value, 4 * at);
  t.same(compressChunk(plain), Buffer.concat([table, frame]));
  t.same(plainOf(Buffer.from(KNOWN, 'hex'), 600, ZSTD), plain);
});

t.test('any chunk comes back, of odd lengths at the borders of blocks; what does not pay is left alone', async (t) => {
  for (const length of [1, 255, 1000, 5000, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES + 77]) {
    const plain = text(length, length);
    const stored = compressChunk(plain);
    t.equal(stored === undefined, length < 256, `${length}`);
    t.equal(compressChunk(content(length)), undefined, 'nothing saved');
    if (stored === undefined) continue;
    t.ok(stored.length < length / 2);
    t.ok(plain.equals(plainOf(stored, length, ZSTD)));
    t.throws(() => plainOf(stored, length + 1, ZSTD), { code: 'CORRUPT' });
    t.equal(readTable(stored, length, stored.length).length, Math.ceil(length / BLOCK_BYTES));
  }
  const half = Buffer.concat([content(2 * BLOCK_BYTES), text(2 * BLOCK_BYTES)]);
  t.ok(compressChunk(half), 'the middle is looked at as well as the beginning');
});

t.test('any zstd program unpacks it', async (t) => {
  const plain = text(2 * BLOCK_BYTES + 5, 3);
  const stored = compressChunk(plain)!;
  try {
    const unpacked = execFileSync('zstd', ['-dc'], { input: stored, maxBuffer: 2 ** 22 });
    t.ok(plain.equals(unpacked));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    t.comment('there is no zstd here');
  }
});

t.test('a frame that holds more than it may is not unpacked further', async (t) => {
  const bomb = compressFrame(Buffer.alloc(64 * 1024 * 1024));
  t.ok(bomb.length < 10_000);
  const before = process.memoryUsage().arrayBuffers;
  t.throws(() => decompressFrame(bomb, new Uint8Array(1000)), { code: 'CORRUPT', message: /more than it should/ });
  t.ok(process.memoryUsage().arrayBuffers - before < 4 * 1024 * 1024);
  const frame = compressFrame(Buffer.from('well'));
  t.throws(() => decompressFrame(Buffer.concat([frame, frame]), new Uint8Array(8)), { message: /follows it/ });
  t.throws(() => decompressFrame(frame, new Uint8Array(5)), { code: 'CORRUPT', message: /4 bytes instead of 5/ });
  const greedy = Buffer.from(frame);
  greedy[5] = 0xff;
  t.throws(() => decompressFrame(greedy, new Uint8Array(4)), { message: /too much memory/ });
  const back = new Uint8Array(4);
  decompressFrame(frame, back);
  t.same(Buffer.from(back).toString(), 'well', 'and the next one is read');
});

t.test('whatever bytes are given, what comes out is the chunk, or an error', async () => {
  const plain = text(BLOCK_BYTES + 3000, 5);
  const stored = Buffer.from(compressChunk(plain)!);
  const changes = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(changes, fc.nat(), fc.boolean(), fc.boolean(), (list, cut, isCut, isFront) => {
      const bytes = Buffer.from(isCut ? stored.subarray(0, cut % stored.length) : stored);
      const span = isFront ? Math.min(bytes.length, tableBytes(plain.length) + 20) : bytes.length;
      for (const [at, value] of span > 0 ? list : []) bytes[at % span] = value;
      const out = new Uint8Array(plain.length);
      try {
        decompressChunk(bytes, out);
      } catch (error) {
        if ((error as { code?: string }).code !== 'CORRUPT') throw error;
        return true;
      }
      return plain.equals(out);
    }),
    { seed, numRuns: 400 },
  );
});
