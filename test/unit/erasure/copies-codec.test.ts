import t from 'tap';
import { CopiesCodec } from '../../../src/erasure/copies-codec.js';
import { codecConformance } from '../../conformance/codec.js';

for (const copies of [1, 2, 3]) codecConformance(t, new CopiesCodec(copies), []);

t.test('impossible numbers of copies are refused', async (t) => {
  for (const copies of [0, -1, 1.5, 33]) t.throws(() => new CopiesCodec(copies), { code: 'CONFIG' });
});
