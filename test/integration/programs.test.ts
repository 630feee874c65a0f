/** Programs that know nothing of Cairn, at work inside a mount: git and a build. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { contentOf } from './content.js';
import { cannotMount, MountHarness } from './mount-harness.js';
import { SCALE } from './scale.js';
import { makeSourceTree } from './source-tree.js';

const MAKEFILE = `
OBJECTS = main.o $(foreach n,1 2 3 4 5 6,part$(n).o)
program: $(OBJECTS)
\t$(CC) -o $@ $^
%.o: %.c parts.h
\t$(CC) -O1 -c -o $@ $<
libparts.a: $(filter part%,$(OBJECTS))
\tar rcs $@ $^
clean:
\trm -f *.o program libparts.a
.PHONY: clean
`;

const PARTS = [1, 2, 3, 4, 5, 6];

async function makeSources(directory: string): Promise<void> {
  await mkdir(directory);
  await writeFile(join(directory, 'Makefile'), MAKEFILE);
  await writeFile(join(directory, 'parts.h'), PARTS.map((n) => `int part${n}(void);\n`).join(''));
  for (const n of PARTS)
    await writeFile(
      join(directory, `part${n}.c`),
      `#include <stdio.h>\n#include "parts.h"\nint part${n}(void) { return ${n}; }\n`,
    );
  const sum = PARTS.map((n) => `part${n}()`).join(' + ');
  await writeFile(
    join(directory, 'main.c'),
    `#include <stdio.h>\n#include "parts.h"\nint main(void) { printf("%d\\n", ${sum}); return 0; }\n`,
  );
}

t.test('git and make', { skip: cannotMount() }, async (t) => {
  const harness = await MountHarness.create(t, { init: ['--bucket-size', '32MiB', '--scheme', 'ec:2+1'] });
  const { mountpoint, directory, disks } = harness;
  const who = [
    '-c',
    'user.name=Test',
    '-c',
    'user.email=test@localhost',
    '-c',
    'commit.gpgsign=false',
    '-c',
    'gc.auto=0',
  ];
  const git = (at: string, ...args: string[]) => harness.must('git', ...who, '-C', at, ...args);

  const tree = await makeSourceTree(harness, 'tree', Math.floor(SCALE.treeFiles / 3));
  const source = join(directory, 'repository');
  await harness.must('git', 'init', '-q', '-b', 'main', source);
  await harness.must('cp', '-a', join(tree, 'headers'), source);
  await makeSources(join(source, 'program'));
  await git(source, 'add', '-A', '-f');
  await git(source, 'commit', '-q', '-m', 'first');
  for (let i = 0; i < 5; i++) {
    await writeFile(join(source, 'large'), contentOf(`large ${i}`, 400_000));
    await git(source, 'add', 'large');
    await git(source, 'commit', '-q', '-m', `change ${i}`);
  }
  const head = await git(source, 'rev-parse', 'HEAD');

  await harness.init();
  await harness.mount();
  const clone = join(mountpoint, 'clone');

  await t.test('git', async (t) => {
    await harness.must('git', ...who, 'clone', '-q', '--no-hardlinks', `file://${source}`, clone);
    t.match(await harness.exec('git', ['-C', clone, 'fsck', '--full', '--strict']), { code: 0 });
    t.equal(await git(clone, 'rev-parse', 'HEAD'), head);
    t.equal(await git(clone, 'status', '--porcelain'), '', 'nothing has changed');
    await writeFile(join(clone, 'large'), contentOf('on a branch', 300_000));
    await git(clone, 'checkout', '-q', '-b', 'branch');
    await git(clone, 'commit', '-q', '-a', '-m', 'on the mount');
    await git(clone, 'checkout', '-q', 'main');
    t.same(await readFile(join(clone, 'large')), contentOf('large 4', 400_000));
    await git(clone, 'gc', '-q', '--prune=now');
    t.match(await harness.exec('git', ['-C', clone, 'fsck', '--full', '--strict']), { code: 0 });
    await git(clone, 'push', '-q', 'origin', 'branch');
    t.equal(await git(source, 'rev-parse', 'branch'), await git(clone, 'rev-parse', 'branch'));
  });

  await t.test('make', async (t) => {
    const place = join(clone, 'program');
    await harness.must('make', '-C', place, '-j2', 'program', 'libparts.a');
    t.equal(await harness.must(join(place, 'program')), '21\n', 'a program runs from the mount');
    t.match(await harness.must('make', '-C', place, 'program'), /up to date/);
    await writeFile(join(place, 'part6.c'), '#include "parts.h"\nint part6(void) { return 60; }\n');
    await harness.must('make', '-C', place, 'program');
    t.equal(await harness.must(join(place, 'program')), '75\n', 'what changed is built anew');
    await harness.must('make', '-C', place, 'clean');
    await git(clone, 'checkout', '-q', '--', '.');
    t.equal(await git(clone, 'status', '--porcelain'), '');
  });

  await t.test('after a kill, and without a disk', async (t) => {
    await harness.kill();
    await harness.mount();
    t.match(await harness.exec('git', ['-C', clone, 'fsck', '--full', '--strict']), { code: 0 });
    await harness.unmount();
    const putBack = await harness.pullOut(disks[0]!);
    await harness.mount();
    t.match(await harness.exec('git', ['-C', clone, 'fsck', '--full', '--strict']), { code: 0 });
    t.equal(await git(clone, 'status', '--porcelain'), '');
    await harness.must('diff', '-r', '--no-dereference', join(source, 'headers'), join(clone, 'headers'));
    await harness.unmount();
    await putBack();
  });
});
