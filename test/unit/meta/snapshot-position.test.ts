import t from 'tap';
import { decodeSnapshotPosition, encodeSnapshotPosition } from '../../../src/meta/snapshot-position.js';

const POSITION = { sequence: 300, epoch: 2, stagedThrough: 2 ** 53 - 1, nextIno: 128 };
const BYTES = Buffer.from('5101ac0202ffffffffffffff0f8001', 'hex');

t.test('golden bytes', async (t) => {
  t.equal(Buffer.from(encodeSnapshotPosition(POSITION)).toString('hex'), BYTES.toString('hex'));
  t.strictSame(decodeSnapshotPosition(BYTES), POSITION);
});

t.test('anything else is CORRUPT', async (t) => {
  for (const hex of ['', '5001', '510201010101', '5101ac02', '510101010101ff'])
    t.throws(() => decodeSnapshotPosition(Buffer.from(hex, 'hex')), { code: 'CORRUPT' }, hex);
});
