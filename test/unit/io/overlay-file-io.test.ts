import { execFileSync } from 'node:child_process';
import t from 'tap';
import { NodeFileIo } from '../../../src/io/node-file-io.js';
import { OverlayFileIo } from '../../../src/io/overlay-file-io.js';
import { fileIoSuite } from '../../conformance/file-io.js';

t.test('conformance', async (t) =>
  fileIoSuite(t, async (t) => ({ io: new OverlayFileIo(new NodeFileIo()), root: t.testdir() })),
);

t.test('what is there is read, changed and removed without being touched', async (t) => {
  const root = t.testdir({ kept: 'as it was', gone: 'here', moved: 'along', log: { a: '0123456789' } });
  const state = (): string => execFileSync('find', [root, '-type', 'f', '-printf', '%p %s %T@ %C@\n']).toString();
  const before = state();
  const io = new OverlayFileIo(new NodeFileIo());
  const file = await io.open(`${root}/log/a`, {});
  await file.write([Buffer.from('xy')], 3);
  await file.truncate(8);
  await file.write([Buffer.alloc(2)], 1);
  t.equal(String(await io.readFile(`${root}/log/a`)), '0\0\0xy567');
  await file.punch(6, 100);
  t.equal(String(await io.readFile(`${root}/log/a`)), '0\0\0xy5\0\0');
  await file.write([Buffer.from('end')], 12);
  t.equal(String(await io.readFile(`${root}/log/a`)), '0\0\0xy5\0\0\0\0\0\0end');
  await file.close();
  const now = io.openNow(`${root}/kept`, {});
  now.writeNow([Buffer.from('IS')], 3);
  const read = Buffer.alloc(20);
  t.equal(String(read.subarray(0, now.readNow(read, 0))), 'as IS was'.replace('IS', 'IS'));
  await now.close();
  await io.remove(`${root}/gone`);
  t.equal(await io.exists(`${root}/gone`), false);
  await io.rename(`${root}/moved`, `${root}/there`);
  t.equal(String(await io.readFile(`${root}/there`)), 'along');
  await io.replaceFile(`${root}/kept`, Buffer.from('new'));
  await io.makeDirectory(`${root}/made/deep`);
  t.same((await io.list(root)).sort(), ['kept', 'log', 'made', 'there']);
  t.equal(state(), before, 'nothing has changed below');
});
