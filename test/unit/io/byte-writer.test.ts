/** Writers that live side by side: the shared buffer belongs to one at a time. */
import t from 'tap';
import { ByteWriter } from '../../../src/io/byte-writer.js';

t.test('two writers of the shared buffer at once do not see each other', async (t) => {
  const first = new ByteWriter();
  const second = new ByteWriter();
  first.binary('first');
  second.binary('second');
  t.equal(Buffer.from(first.finish()).toString(), 'first');
  const third = new ByteWriter();
  third.binary('third');
  t.equal(Buffer.from(second.finish()).toString(), 'second');
  t.equal(Buffer.from(third.finish()).toString(), 'third');
});

t.test('a writer that stays open keeps its bytes while others come and go', async (t) => {
  const open = new ByteWriter(8);
  open.binary('begun ');
  for (let i = 0; i < 5; i++) {
    const passing = new ByteWriter();
    passing.binary('x'.repeat(100_000 * i));
    passing.finish();
  }
  open.binary('and gone on with');
  t.equal(open.view().toString(), 'begun and gone on with');
  t.equal(open.length, 22);
  open.reset(5);
  t.equal(open.view().toString(), 'begun');
  open.reset();
  t.equal(open.length, 0);
  open.varint(2 ** 53 - 1);
  t.equal(open.view().toString('hex'), 'ffffffffffffff0f');
});
