/** Checksums against their published check values, and combined ones against those of the whole. */
import { createHash } from 'node:crypto';
import t from 'tap';
import { loadAddon } from '../../../native/addon.js';
import { CHECKSUMS, combineCrc, isLinear, newChecksum } from '../../../src/s3/checksums.js';
import { Md5Lanes } from '../../../src/s3/md5-lanes.js';
import { SeededRandom } from '../../sim/seeded-random.js';

/** Of the nine bytes `123456789`: the "check" of the CRC catalogue, and FIPS 180. */
const KNOWN: Readonly<Record<string, string>> = {
  CRC32: 'cbf43926',
  CRC32C: 'e3069283',
  CRC64NVME: 'ae8b14860a799888',
  SHA1: 'f7c3bc1d808e04732adf679965ccc34ca7ae3441',
  SHA256: '15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225',
};

const bytesOf = (length: number): Buffer => Buffer.from(Array.from({ length }, (_, i) => (i * 131 + (i >> 5)) & 255));

for (const name of CHECKSUMS) {
  t.test(name, async (t) => {
    const whole = newChecksum(name);
    whole.update(Buffer.from('123456789'));
    t.equal(whole.digest().toString('hex'), KNOWN[name]);

    const bytes = bytesOf(1003);
    const once = newChecksum(name);
    once.update(bytes);
    const inPieces = newChecksum(name);
    for (let at = 0; at < bytes.length; at += 37) inPieces.update(bytes.subarray(at, at + 37));
    const digest = once.digest();
    t.same(inPieces.digest(), digest, 'however the bytes come');

    if (!isLinear(name)) return;
    const parts = [bytes.subarray(0, 1), bytes.subarray(1, 500), bytes.subarray(500, 500), bytes.subarray(500)].map(
      (part) => {
        const running = newChecksum(name);
        running.update(part);
        return { value: running.digest(), length: part.length };
      },
    );
    t.same(combineCrc(name as 'CRC32', parts), digest, 'combined from parts');
  });
}

t.test('MD5 of many streams at once is that of each', async (t) => {
  const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
  t.comment(`SEED=${seed}`);
  const random = new SeededRandom(seed);
  const lanes = new Md5Lanes();
  const streams = Array.from({ length: 20 }, async (_, i) => {
    const stream = lanes.stream();
    const hash = createHash('md5');
    let waiting = 0;
    // Some are small, some take several jobs; only the last piece may be of any length.
    for (let pieces = random.below(5); pieces >= 0; pieces--) {
      const most = i % 3 === 0 ? 40_000 : 1_500_000;
      const length = pieces === 0 ? random.below(most) : 64 * (1 + random.below(most / 64));
      const bytes = Buffer.alloc(length, random.bytes(1 + random.below(60)));
      hash.update(bytes);
      waiting += 1;
      stream.update(bytes, () => {
        waiting -= 1;
        // From here on they may change.
        bytes.fill(0);
      });
      if (random.chance(0.3)) await new Promise(setImmediate);
    }
    const digest = await stream.digest();
    return { isRight: digest.equals(hash.digest()), waiting };
  });
  t.same(
    await Promise.all(streams),
    streams.map(() => ({ isRight: true, waiting: 0 })),
  );
  for (const length of [0, 1, 55, 56, 63, 64, 65, 119, 120]) {
    const stream = lanes.stream();
    const bytes = random.bytes(length);
    stream.update(bytes);
    t.same(await stream.digest(), createHash('md5').update(bytes).digest(), `${length} bytes`);
  }
});

t.test('the addon refuses what does not fit', (t) => {
  const addon = loadAddon();
  const state = Buffer.alloc(16);
  const block = Buffer.alloc(64);
  for (const call of [
    () => addon.md5Blocks(state, []),
    () => addon.md5Blocks(state, [block, block]),
    () => addon.md5Blocks(state, [block.subarray(1)]),
    () => addon.md5BlocksAsync(state, [block.subarray(1)], () => {}),
    () => addon.md5Blocks(state, 'x' as unknown as Buffer[]),
    () => addon.crc64Nvme(state, block),
    () => addon.copyBytes(state, 1, state),
    () => addon.copyBytes(state, -1, block),
    () => addon.copyBytes(state, 2 ** 40, Buffer.alloc(0)),
  ])
    t.throws(call, { code: 'EINVAL' });
  const shared = Buffer.from(new SharedArrayBuffer(20));
  addon.copyBytes(shared, 4, Buffer.from('0123456789abcdef'));
  t.equal(shared.toString('latin1'), '\0\0\0\x000123456789abcdef');
  t.end();
});
