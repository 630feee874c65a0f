/** `cairn fsck` as a person uses it: beside a writer, at rest, on damaged disks, with repair; and what it says of misuse. */
import { randomBytes } from 'node:crypto';
import { open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import type { CheckReport } from '../../src/vfs/reports.js';
import { cannotMount, MountHarness } from './mount-harness.js';

const KIB = 1024;

t.test('fsck beside a writer, at rest, and with repair', { skip: cannotMount() }, async (t) => {
  const harness = await MountHarness.create(t, { init: ['--bucket-size', '64MiB', '--scheme', 'ec:2+1'] });
  await harness.init();
  await harness.mount();
  const kept = new Map<string, Buffer>();
  for (let i = 0; i < 40; i++) kept.set(`kept-${i}`, randomBytes(i * 7 * KIB));
  for (const [name, bytes] of kept) await writeFile(join(harness.mountpoint, name), bytes);
  await harness.commit();
  let isWriting = true;
  const writer = (async () => {
    for (let i = 0; isWriting; i++) {
      await writeFile(join(harness.mountpoint, `busy-${i % 8}`), randomBytes(90 * KIB));
      await rm(join(harness.mountpoint, `busy-${(i + 4) % 8}`), { force: true });
    }
  })();
  const check = async (...flags: string[]): Promise<{ code: number; report: CheckReport & { running: boolean } }> => {
    const { code, stdout } = await harness.runIn(harness.directory, 'fsck', '--json', ...flags, harness.pool);
    return { code, report: JSON.parse(stdout) };
  };
  try {
    for (const flags of [[], ['--data'], ['--repair']]) {
      const { code, report } = await check(...flags);
      t.strictSame(report.findings, [], `beside a writer: ${flags.join()}`);
      t.equal(code, 0);
      t.equal(report.running, true);
    }
  } finally {
    isWriting = false;
    await writer;
  }
  await harness.unmount();
  t.match(await check('--data'), { code: 0, report: { running: false, clean: true, findings: { length: 0 } } });
  const log = join(harness.disks[0]!, 'log');
  for (const name of (await readdir(log)).filter((name) => name.startsWith('data-'))) {
    const file = await open(join(log, name), 'r+');
    await file.write(randomBytes(64 * KIB), 0, 64 * KIB, 512 * KIB);
    await file.close();
  }
  await rm(join(harness.disks[1]!, 'map'));
  const damaged = await check();
  t.equal(damaged.code, 1);
  t.ok(damaged.report.findings.some(({ code, files }) => code === 'shard-damaged' && files.length > 0));
  const said = await harness.runIn(harness.directory, 'fsck', harness.pool);
  t.match(said, {
    code: 1,
    stdout: /-> mend it with `cairn fsck --repair`[\s\S]*\nnot clean: \d findings? of damage\n$/,
  });
  t.equal((await check('--repair')).code, 0);
  t.match(await check('--data'), { code: 0, report: { clean: true } });
  await harness.mount();
  for (const [name, bytes] of kept) t.ok((await readFile(join(harness.mountpoint, name))).equals(bytes), name);
  t.equal((await harness.runIn(harness.directory, 'fsck')).code, 2);
});
