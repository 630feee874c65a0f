/** Programs that know nothing of Cairn, at work inside a mount: git, a build, and a container's layers. */
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
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
    await git(clone, 'checkout', '-q', '--', '.');
    await harness.must('make', '-C', place, '-j2', 'program');
    await git(clone, 'status', '--porcelain');
  });

  await t.test("a container's layers", { skip: process.getuid?.() !== 0 && 'mounting needs root' }, async (t) => {
    const lower = join(directory, 'lower');
    const merged = join(directory, 'merged');
    const layersIn = async (place: string): Promise<readonly string[]> => {
      for (const name of ['', 'upper', 'work']) await mkdir(join(place, name));
      const options = `lowerdir=${lower},upperdir=${join(place, 'upper')},workdir=${join(place, 'work')}`;
      return ['-t', 'overlay', 'overlay', '-o', options, merged];
    };
    for (const path of [lower, join(lower, 'dir'), merged]) await mkdir(path);
    for (const name of ['changed', 'removed', 'dir/below']) await writeFile(join(lower, name), name);
    const { code, stderr } = await harness.exec('mount', await layersIn(join(directory, 'layers')));
    if (code !== 0) {
      t.comment(`not run: the system's own file system takes no layers here: ${stderr}`);
      return;
    }
    await harness.must('umount', merged);
    const place = join(mountpoint, 'layers');
    const layers = await layersIn(place);
    await harness.must('mount', ...layers);
    await writeFile(join(merged, 'changed'), 'in the upper layer');
    await harness.must('rm', join(merged, 'removed'));
    await harness.must('rm', '-r', join(merged, 'dir'));
    await mkdir(join(merged, 'dir'));
    await harness.must('mv', '-T', join(merged, 'dir'), join(merged, 'moved'));
    const show = async () => [(await readdir(merged)).sort(), await readFile(join(merged, 'changed'), 'utf8')];
    const seen = [['changed', 'moved'], 'in the upper layer'];
    t.same(await show(), seen);
    t.ok((await stat(join(place, 'upper', 'removed'))).isCharacterDevice(), 'a whiteout');
    await harness.must('umount', merged);
    await harness.must('mount', ...layers);
    t.same(await show(), seen, 'when they are put together again');
    await harness.must('umount', merged);
  });

  await t.test('after a kill, and without a disk', async (t) => {
    // git and make go by numbers, sizes and times: nothing is read or built again where these have not changed.
    const isAsItWas = async (when: string) => {
      t.equal(await git(clone, 'diff-files', '--name-only'), '', `git's index holds ${when}`);
      t.match(await harness.exec('make', ['-q', '-C', join(clone, 'program'), 'program']), { code: 0 }, when);
    };
    // Times of what is only closed may be a moment behind after a kill.
    await harness.commit();
    await harness.kill();
    await harness.mount();
    await isAsItWas('after a kill');
    t.match(await harness.exec('git', ['-C', clone, 'fsck', '--full', '--strict']), { code: 0 });
    await harness.unmount();
    const putBack = await harness.pullOut(disks[0]!);
    await harness.mount();
    await isAsItWas('after an unmount');
    await harness.must('make', '-C', join(clone, 'program'), 'clean');
    t.match(await harness.exec('git', ['-C', clone, 'fsck', '--full', '--strict']), { code: 0 });
    t.equal(await git(clone, 'status', '--porcelain'), '');
    await harness.must('diff', '-r', '--no-dereference', join(source, 'headers'), join(clone, 'headers'));
    await harness.unmount();
    await putBack();
  });
});
