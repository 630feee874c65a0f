import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { NodeFileIo } from '../../../src/io/node-file-io.js';
import { SystemRandom } from '../../../src/io/random.js';
import { initPool, protectionOf } from '../../../src/pool/init-pool.js';

t.test('a directory that cannot be a disk leaves the others as they were', async (t) => {
  const base = t.testdir();
  const at = (name: string) => join(base, name);
  for (const name of ['pool', 'a', 'b', 'c', 'cache']) mkdirSync(at(name));
  const options = {
    disks: [at('a'), at('b'), at('c')],
    journals: [],
    cache: at('cache'),
    meta: at('pool/meta'),
    scheme: 'auto',
    bucketBytes: undefined,
    chunkBytes: undefined,
  } as const;
  const init = () => initPool(new NodeFileIo(), new SystemRandom(), at('pool'), options);
  for (const [name, code] of [
    ['c', 'NOT_EMPTY'],
    ['cache', 'NOT_EMPTY'],
  ] as const) {
    const intruder = join(at(name), 'photo.jpg');
    writeFileSync(intruder, '');
    await t.rejects(init(), { code, message: /photo\.jpg/ });
    for (const other of ['pool', 'a', 'b']) t.same(readdirSync(at(other)), [], `${other} is still empty`);
    rmSync(intruder);
  }
  t.match(await init(), { groups: [{ scheme: 'ec:2+1' }] }, 'and the next try can use them');
  await t.rejects(init(), { code: 'EXISTS' });
});

t.test('what is protected is said for the disks that are there', async (t) => {
  t.match(protectionOf(0, 1), /Not protected/);
  t.match(protectionOf(1, 3), /survives the loss of any one disk of 3/);
  t.match(protectionOf(2, 12), /any 2 disks at once of 12/);
  t.equal(protectionOf(2, 12, 1), 'Everything committed survives the loss of any one more: 1 of 12 disks is missing.');
  t.match(protectionOf(1, 3, 1), /^Another loss may not be survived: 1 of 3 disks is missing\. Put it back/);
  t.match(protectionOf(1, 3, 2), /2 of 3 disks are missing/);
});
