import t from 'tap';
import { SmallContents } from '../../../src/vfs/small-contents.js';

const bytes = (length: number, value: number) => Buffer.alloc(length, value);

t.test('bytes are those of the content stage that is asked for, or none', (t) => {
  const contents = new SmallContents();
  contents.put(7, 1, bytes(10, 1), 0);
  t.strictSame(contents.get(7, 1, 0), bytes(10, 1));
  t.equal(contents.get(8, 1, 0), undefined);
  t.equal(contents.get(7, 2, 0), undefined, 'the file has changed');
  t.equal(contents.get(7, 1, 0), undefined, 'and what it was is gone');
  contents.put(7, 2, bytes(10, 2), 0);
  t.strictSame(contents.get(7, 2, 60_000), bytes(10, 2));
  t.equal(contents.get(7, 2, 60_001), undefined, 'a minute old');
  t.end();
});

t.test('what was used longest ago goes when there is no room', (t) => {
  // Room for two of 1,000 bytes with what they take beside.
  const contents = new SmallContents(2600);
  contents.put(1, 1, bytes(1000, 1), 0);
  contents.put(2, 1, bytes(1000, 2), 0);
  contents.get(1, 1, 0);
  contents.put(3, 1, bytes(1000, 3), 0);
  t.equal(contents.get(2, 1, 0), undefined);
  t.strictSame(contents.get(1, 1, 0), bytes(1000, 1));
  t.strictSame(contents.get(3, 1, 0), bytes(1000, 3));
  // An entry that is put anew, or not found, gives its room back.
  for (let turn = 0; turn < 100; turn++) contents.put(3, turn, bytes(1000, 3), 0);
  t.strictSame(contents.get(1, 1, 0), bytes(1000, 1));
  t.equal(contents.get(3, 0, 0), undefined);
  contents.put(4, 1, bytes(1000, 4), 0);
  t.strictSame(contents.get(1, 1, 0), bytes(1000, 1));
  t.strictSame(contents.get(4, 1, 0), bytes(1000, 4));
  t.end();
});
