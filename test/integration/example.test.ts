/**
 * What is in examples/ runs as it stands, against the package by its own name. One pool, which the box example makes, is shared by those that
 * want one that is mounted.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { cannotMount, MountHarness } from './mount-harness.js';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const example = (name: string): string => join(ROOT, 'examples', name);
const CAIRN = `${process.execPath} ${join(ROOT, 'dist', 'src', 'cli', 'main.js')}`;

/** Lines of stdout; what does not end well fails with all that it said. */
function linesOf(program: string, ...args: string[]): string[] {
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    encoding: 'utf8',
    env: { ...process.env, CAIRN, NO_COLOR: '1' },
    timeout: 100_000,
  });
  if (status !== 0) throw new Error(`${args.join(' ')} ended with ${status} ${error ?? ''}: ${stdout}${stderr}`);
  return stdout.trimEnd().split('\n');
}

/** Why a program cannot be used; false if it can. */
const without = (program: string): string | false =>
  spawnSync(program, ['--help'], { stdio: 'ignore' }).error !== undefined && `${program} is not installed`;

t.test('photo-archive.mjs', async (t) => {
  t.same(linesOf(process.execPath, example('photo-archive.mjs')), [
    'Everything committed survives the loss of any one disk of 3, of the cache and of the metadata directory.',
    `committed ${8 * 1024 * 1024} bytes`,
    'file journal.txt 41',
    `file lake.raw ${8 * 1024 * 1024}`,
    'degraded: light on the water',
    'there is no /photos/sea.raw in the pool',
  ]);
});

t.test('await-commit.ts', async (t) => {
  const lines = linesOf(process.execPath, join(ROOT, 'dist', 'examples', 'await-commit.js'));
  t.same(
    lines.filter((line) => !/^\w: \d+ %$/.test(line)),
    ['three messages are committed and healthy, after at most three rounds', 'refused with NOT_FOUND'],
  );
});

t.test('a box of three disks, and what runs on it', { skip: cannotMount() }, async (t) => {
  // Ends the daemon and takes the mount away, also if something fails.
  const { directory, mountpoint, pool } = await MountHarness.create(t, { disks: 0 });
  const box = linesOf('sh', example('three-disk-box.sh'), directory);
  t.match(
    box.find((line) => line.startsWith('mounted ')),
    `mounted ${pool} at ${mountpoint}`,
  );
  const after = (heading: string) => box.slice(box.findIndex((line) => line.startsWith(heading)) + 1);
  t.match(after('# All is well')[0], /^# A disk dies/, 'the alarm is silent');
  const alarm = after('# A disk dies');
  t.equal(alarm[0], 'ALARM:');
  t.ok(
    alarm.some((line) => /^ {2}! the data disk at .*disk2.* is /.test(line)),
    'it names the disk',
  );
  t.ok(
    alarm.some((line) => /^ {2}-> put disk 2 back .*cairn disk replace/.test(line)),
    'and says what to do',
  );
  t.same(box.slice(-3), [
    'every file is still there',
    '# It comes back, and what it missed is made up for by itself',
    'healthy again',
  ]);

  t.test('sqlite-disk-pulled.mjs', async (t) => {
    const disk = join(directory, 'disk3', 'cairn');
    t.same(linesOf(process.execPath, example('sqlite-disk-pulled.mjs'), mountpoint, disk), [
      `pulled ${disk} after 20 transfers`,
      '40 transfers, integrity ok, 10000 of 10000 there',
    ]);
  });

  t.test('restic-backup.sh', { skip: without('restic') }, async (t) => {
    const port = await new Promise<number>((resolve) => {
      const probe = createServer().listen(0, '127.0.0.1', () => {
        const address = probe.address();
        probe.close(() => resolve(typeof address === 'object' ? (address?.port ?? 0) : 0));
      });
    });
    const lines = linesOf('sh', example('restic-backup.sh'), pool, join(ROOT, 'examples'), String(port));
    t.match(lines.at(-1), /^backed up and restored: \d+ files the same$/);
  });

  t.test('smb.conf', async (t) => {
    const text = readFileSync(example('smb.conf'), 'utf8');
    t.match(text, /^ {3}strict sync = yes$/m, 'a flush is an fsync');
    if (without('testparm') !== false) return t.comment('testparm is not installed');
    const { status, stderr } = spawnSync('testparm', ['-s', example('smb.conf')], { encoding: 'utf8' });
    t.equal(status, 0, stderr);
    t.notMatch(stderr, /Unknown parameter|Ignoring/i);
  });
});
