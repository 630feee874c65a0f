/** Checksums against their published check values, and combined ones against those of the whole. */
import t from 'tap';
import { CHECKSUMS, combineCrc, isLinear, newChecksum } from '../../../src/s3/checksums.js';

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
