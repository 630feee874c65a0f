/** The programs in examples/ run as they stand, against the package by its own name. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import t from 'tap';

const run = promisify(execFile);
const example = (name: string): string => fileURLToPath(new URL(`../../../examples/${name}`, import.meta.url));

t.test('photo-archive.mjs', async (t) => {
  const { stdout, stderr } = await run(process.execPath, [example('photo-archive.mjs')]);
  t.equal(stderr, '');
  t.same(stdout.trimEnd().split('\n'), [
    'Everything committed survives the loss of any one disk of 3, of the cache and of the metadata directory.',
    `committed ${8 * 1024 * 1024} bytes`,
    'file journal.txt 41',
    `file lake.raw ${8 * 1024 * 1024}`,
    'degraded: light on the water',
    'there is no /photos/sea.raw in the pool',
  ]);
});
