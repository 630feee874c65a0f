/** Fuzz of the map's decoder. Replay a failure with SEED=<printed seed>. */
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import t from 'tap';
import { createMap, DiskMapError, decodeMap, encodeMap } from '../../diskmap/index.js';
import { anyInput, mapOf, testSeed } from '../unit/diskmap/maps.js';

const seed = testSeed();
t.comment(`SEED=${seed}`);

/** True if the bytes are refused as they should be, or are exactly what the map they decode to encodes to. */
function honest(bytes: Uint8Array): boolean {
  let map: ReturnType<typeof decodeMap>;
  try {
    map = decodeMap(bytes);
  } catch (error) {
    if (error instanceof DiskMapError && error.code === 'CORRUPT') return true;
    throw error;
  }
  return Buffer.compare(encodeMap(map), bytes) === 0;
}

/** Puts length and checksum right, so that the damage gets past them. */
function reseal(bytes: Uint8Array): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 52) return bytes;
  view.setUint32(16, bytes.length, true);
  view.setUint32(bytes.length - 4, crc32(bytes.subarray(0, bytes.length - 4)), true);
  return bytes;
}

const encoded = fc.oneof(
  anyInput.map((input) => {
    try {
      return encodeMap(createMap(input));
    } catch {
      return encodeMap(mapOf([2, 3, 4]));
    }
  }),
  fc.constant(encodeMap(mapOf([1, 1, 1]))),
);
const edit = fc.tuple(fc.nat(), fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 2, 255)));

t.test('random bytes', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => honest(bytes)),
    { seed, numRuns: 2000 },
  );
  t.pass();
});

t.test('maps with changed bytes, sealed again', async (t) => {
  let accepted = 0;
  fc.assert(
    fc.property(encoded, fc.array(edit, { minLength: 1, maxLength: 4 }), (bytes, edits) => {
      const changed = bytes.slice();
      // Half of the edits go into the first 100 bytes, where most fields are.
      for (const [at, value] of edits) changed[at % Math.min(changed.length, at % 2 ? 100 : changed.length)] = value;
      const sealed = reseal(changed);
      try {
        decodeMap(sealed);
        accepted += 1;
      } catch {
        // honest() judges it
      }
      return honest(sealed);
    }),
    { seed, numRuns: 4000 },
  );
  t.ok(accepted > 0 && accepted < 4000, `${accepted} of 4000 were still maps`);
});

t.test('maps cut, doubled and spliced, sealed again', async (t) => {
  fc.assert(
    fc.property(encoded, encoded, fc.nat(), fc.nat(), (one, other, cut, from) => {
      const head = one.subarray(0, cut % (one.length + 1));
      const rest = other.subarray(from % (other.length + 1));
      const spliced = new Uint8Array(head.length + rest.length);
      spliced.set(head);
      spliced.set(rest, head.length);
      return honest(spliced.slice()) && honest(reseal(spliced));
    }),
    { seed, numRuns: 2000 },
  );
  t.pass();
});
