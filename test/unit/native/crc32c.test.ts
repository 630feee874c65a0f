import fc from 'fast-check';
import t, { type Test } from 'tap';
import { loadAddon } from '../../../native/addon.js';

const addon = loadAddon();
const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);

/** Known answers: RFC 3720 appendix B.4, and the check value of the catalogue of CRC algorithms. */
const known: [string, Uint8Array, number][] = [
  ['nothing', Buffer.alloc(0), 0],
  ['123456789', Buffer.from('123456789'), 0xe3069283],
  ['32 zeros', Buffer.alloc(32), 0x8a9136aa],
  ['32 ones', Buffer.alloc(32, 0xff), 0x62a8ab43],
  ['0 to 31', Buffer.from(Array.from({ length: 32 }, (_, i) => i)), 0x46dd794e],
  ['31 to 0', Buffer.from(Array.from({ length: 32 }, (_, i) => 31 - i)), 0x113fdb5c],
  [
    'an iSCSI read command',
    Buffer.from(
      '01c000000000000000000000000000001400000000000400000000140000001828000000000000000200000000000000',
      'hex',
    ),
    0xd9963a56,
  ],
];

/** Bit by bit, from the definition. */
function reference(bytes: Uint8Array, seed = 0): number {
  let crc = ~seed;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}

function pattern(length: number): Buffer {
  return Buffer.from(
    Uint32Array.from({ length: Math.ceil(length / 4) }, (_, i) => Math.imul(i + 1, 2654435761)).buffer,
    0,
    length,
  );
}

function suite(t: Test, crc32c: typeof addon.crc32c): void {
  for (const [name, bytes, answer] of known) t.equal(crc32c(bytes, 0, bytes.length, 0), answer, name);

  // Around the lengths at which the interleaved streams begin and end, from every alignment.
  const bytes = pattern(70_000);
  for (const length of [1, 7, 8, 9, 767, 768, 769, 1536, 16_319, 16_320, 16_321, 17_088, 65_536]) {
    for (let from = 0; from < 8; from++) {
      const answer = reference(bytes.subarray(from, from + length));
      if (crc32c(bytes, from, from + length, 0) !== answer) t.fail(`${length} bytes from ${from}`);
    }
  }

  fc.assert(
    fc.property(fc.nat(40_000), fc.nat(40_000), fc.nat(8), (a, b, offset) => {
      const [cut, to] = [offset + Math.min(a, b), offset + Math.max(a, b)];
      const whole = crc32c(bytes, offset, to, 0);
      return (
        crc32c(bytes, cut, to, crc32c(bytes, offset, cut, 0)) === whole &&
        whole === reference(bytes.subarray(offset, to))
      );
    }),
    { seed, numRuns: 60 },
  );
  t.pass(`continuing gives the same as one go (SEED=${seed})`);
}

t.test('with the processor’s instruction where there is one', async (t) => suite(t, addon.crc32c));
t.test('with tables', async (t) => suite(t, addon.crc32cPortable));

t.test('blocks', async (t) => {
  const bytes = pattern(200_000);
  for (const [from, to, blockBytes] of [
    [0, 200_000, 65_536],
    [3, 131_075, 65_536],
    [5, 5, 4096],
    [0, 10, 1],
    [0, 10, 2 ** 53 - 1],
  ] as const) {
    const count = Math.ceil((to - from) / blockBytes);
    const out = new Uint32Array(count + 1).fill(7);
    addon.crc32cBlocks(bytes, from, to, blockBytes, out);
    const expected = Array.from({ length: count }, (_, i) =>
      reference(bytes.subarray(from + i * blockBytes, Math.min(to, from + (i + 1) * blockBytes))),
    );
    t.same([...out], [...expected, 7], `${from} to ${to} by ${blockBytes}`);
  }
});

t.test('bad arguments throw EINVAL', async (t) => {
  const bytes = Buffer.alloc(100);
  const detached = new Uint8Array(100);
  structuredClone(detached.buffer, { transfer: [detached.buffer] });
  const out = new Uint32Array(1);
  const crc32c = addon.crc32c as (...args: unknown[]) => unknown;
  const blocks = addon.crc32cBlocks as (...args: unknown[]) => unknown;
  for (const args of [
    [],
    [bytes, 0, 100],
    ['text', 0, 1, 0],
    [null, 0, 0, 0],
    [new Uint16Array(4), 0, 1, 0],
    [new DataView(new ArrayBuffer(8)), 0, 1, 0],
    [bytes, 0, 101, 0],
    [bytes, 50, 49, 0],
    [bytes, -1, 10, 0],
    [bytes, 0.5, 10, 0],
    [bytes, Number.NaN, 10, 0],
    [bytes, 0, Infinity, 0],
    [bytes, 0, 2 ** 64, 0],
    [bytes, 0, 10n, 0],
    [bytes, '0', 10, 0],
    [bytes, 0, 10, -1],
    [bytes, 0, 10, 2 ** 32],
    [detached, 0, 1, 0],
  ]) {
    t.throws(() => crc32c(...args), { code: 'EINVAL', errno: -22 });
  }
  for (const args of [
    [bytes, 0, 100, 0, out],
    [bytes, 0, 100, -5, out],
    [bytes, 0, 100, 99, out],
    [bytes, 0, 101, 200, out],
    [bytes, 0, 100, 100, new Uint8Array(4)],
    [bytes, 0, 100, 100, [0]],
    [bytes, 0, 100, 100],
  ]) {
    t.throws(() => blocks(...args), { code: 'EINVAL' });
  }
  t.equal(crc32c(detached, 0, 0, 0), 0, 'a detached buffer is an empty one');
});
