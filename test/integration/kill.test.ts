/**
 * kill -9 of the daemon while a tree is being copied in and another program does work that it waits for: afterwards all that was acknowledged is there.
 * `SEED=` replays the moments of the kills, as far as two programs and a daemon can be replayed.
 */
import { mkdir, readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { contentOf } from './content.js';
import { cannotMount, MountHarness } from './mount-harness.js';
import { SCALE } from './scale.js';
import { makeSourceTree } from './source-tree.js';
import { WorkLog } from './work-log.js';

const seed = process.env['SEED'] ?? String(Date.now());
const moments = contentOf(seed, 4 * 64);

/** `which` counts the kills of all tests of this file. */
function killAfter(which: number, least: number, span: number): number {
  return least + (moments.readUInt32LE(4 * which) % span);
}

/** Reads all of a copy that was interrupted: every entry answers, and only the file that was being written may differ from its source. */
async function checkCopy(t: Test, source: string, copy: string): Promise<void> {
  const differing: string[] = [];
  let count = 0;
  // Names are bytes, and not all of them are text.
  const walk = async (from: Buffer, to: Buffer): Promise<void> => {
    for (const entry of await readdir(to, { withFileTypes: true, encoding: 'buffer' })) {
      const name = Buffer.concat([Buffer.from('/'), entry.name]);
      const expected = Buffer.concat([from, name]);
      const found = Buffer.concat([to, name]);
      if (entry.isDirectory()) await walk(expected, found);
      else if (entry.isSymbolicLink()) await readlink(found);
      else {
        count += 1;
        if (!(await readFile(found)).equals(await readFile(expected))) differing.push(found.toString());
      }
    }
  };
  await walk(Buffer.from(source), Buffer.from(copy));
  t.ok(differing.length <= 1, `all ${count} files that were closed are as they were`, { differing });
}

async function killCycles(t: Test, mode: 'default' | 'strong', firstKill: number): Promise<void> {
  t.comment(`SEED=${seed}`);
  const harness = await MountHarness.create(t, { init: ['--bucket-size', '32MiB', '--scheme', 'ec:2+1'] });
  const { mountpoint, disks } = harness;
  const flags = mode === 'strong' ? ['--strong'] : [];
  const tree = await makeSourceTree(harness, 'source', 700);
  await harness.init();
  // Often, so that kills meet commits.
  await harness.configure((toml) => toml.replace(/^delay_ms = .*$/m, 'delay_ms = 150'));
  const acknowledged: number[] = [];
  const verify = async (t: Test, cycle: number) => {
    const done = acknowledged[cycle]!;
    const log = new WorkLog(`${seed} ${cycle}`);
    const problems = log.findLoss(join(mountpoint, `work${cycle}`), { promised: done, done, closed: true });
    t.same(problems, [], `all of ${acknowledged[cycle]} acknowledged operations of cycle ${cycle}`);
  };

  for (let cycle = 0; cycle < SCALE.killCycles; cycle++) {
    await t.test(`kill ${cycle}`, async (t) => {
      await harness.mount(...flags);
      const work = join(mountpoint, `work${cycle}`);
      await mkdir(work);
      const copy = harness.start('cp', '-a', tree, join(mountpoint, `copy${cycle}`));
      const writer = harness.script('work-writer', work, `${seed} ${cycle}`);
      const enough = killAfter(firstKill + cycle, 15, mode === 'strong' ? 150 : 250);
      await writer.until((lines) => lines.length >= enough);
      await harness.kill();
      const { stderr } = await writer.ended;
      t.match(stderr, /ENOTCONN|ECONNABORTED|EIO/, 'the writer hears of it');
      await copy.ended;
      acknowledged[cycle] = writer.lines.length;

      await harness.mount(...flags);
      await verify(t, cycle);
      await checkCopy(t, tree, join(mountpoint, `copy${cycle}`)).catch((error: unknown) => t.fail(String(error)));
      if (mode === 'default') t.match((await harness.log()).join('\n'), /replayed the stage log: \d+ changes/);
      // Killed again right after the replay, before or while it is committed: nothing may depend on the commit.
      await harness.kill();
      await harness.mount(...flags);
      await verify(t, cycle);
      if (cycle % 2 === 0) await harness.unmount();
      else await harness.kill();
    });
  }

  await t.test('all of it, with a disk away', async (t) => {
    await harness.mount();
    await harness.unmount();
    const putBack = await harness.pullOut(disks[SCALE.killCycles % 3]!);
    await harness.mount();
    for (let cycle = 0; cycle < SCALE.killCycles; cycle++) await verify(t, cycle);
    await harness.unmount();
    await putBack();
  });
}

t.test('default mode', { skip: cannotMount() }, (t) => killCycles(t, 'default', 0));
t.test('strong mode', { skip: cannotMount() }, (t) => killCycles(t, 'strong', 20));

t.test('a kill while a commit is under way', { skip: cannotMount() }, async (t) => {
  const harness = await MountHarness.create(t, { init: ['--bucket-size', '32MiB', '--scheme', 'ec:2+1'] });
  const { mountpoint, cache } = harness;
  await harness.init();
  await harness.configure((toml) => toml.replace(/^delay_ms = .*$/m, 'delay_ms = 3600000'));
  for (let cycle = 0; cycle < SCALE.killCycles; cycle++) {
    await harness.mount();
    const name = `large ${cycle}`;
    const bytes = contentOf(name, 40 * 1024 * 1024);
    const source = join(harness.directory, name);
    const { writeFile } = await import('node:fs/promises');
    await writeFile(source, bytes);
    await harness.must('cp', source, mountpoint);
    const sequence = (await harness.status()).commitSequence;
    const commit = harness.run('commit', '--wait', mountpoint);
    const wait = killAfter(40 + cycle, 0, 3);
    for (let i = 0; i < wait * 20; i++) await new Promise(setImmediate);
    await harness.kill();
    const { code, stderr } = await commit;
    if (code !== 0) t.match(stderr, /^cairn: [^\n]+\n$/, 'the command says it in one line');
    await harness.mount();
    t.ok((await harness.status()).commitSequence >= sequence);
    for (let earlier = 0; earlier <= cycle; earlier++) {
      const found = await readFile(join(mountpoint, `large ${earlier}`));
      t.ok(
        found.equals(contentOf(`large ${earlier}`, found.length)) && found.length === bytes.length,
        `large ${earlier}`,
      );
    }
    await harness.unmount();
  }
  await harness.must('rm', '-rf', cache);
  await harness.mount();
  for (let cycle = 0; cycle < SCALE.killCycles; cycle++) {
    const found = await readFile(join(mountpoint, `large ${cycle}`));
    t.ok(found.equals(contentOf(`large ${cycle}`, 40 * 1024 * 1024)), `large ${cycle} from the disks`);
  }
});
