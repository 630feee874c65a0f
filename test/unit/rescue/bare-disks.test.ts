/** Rescue from the disks of a real pool, damaged in each way that disks are; what is left of every file is right or listed. */
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { decodeMap, encodeMap } from '../../../diskmap/index.js';
import { MAP_FILE } from '../../../src/disks/log-disk.js';
import type { RescueSummary } from '../../../src/rescue/rescue.js';
import { sourceLines } from '../../../src/rescue/rescue-summary.js';
import { contentOf } from '../../integration/content.js';
import { PoolFixture } from '../vfs/pool-fixture.js';
import { commitOf, makeDisk, type RescueFlags, ROOT, rescueTo } from './hand-made-disk.js';

const FILES: Readonly<Record<string, number>> = {
  empty: 0,
  small: 3000,
  edge: 65_536,
  shards: 100_000,
  chunks: 500_000,
};
const names = Object.keys(FILES);

/** A closed pool with the files, and a copy of its disks for each test to damage. */
class Damaged {
  readonly #t: Test;
  readonly #source: string[];
  #count = 0;

  static async create(t: Test): Promise<Damaged> {
    const fixture = await PoolFixture.create(t);
    for (const [name, size] of Object.entries(FILES)) {
      const file = await fixture.pool.openFile(`/${name}`, 'w');
      await file.write(0, contentOf(name, size));
      await file.close();
      await fixture.pool.commit();
    }
    await fixture.pool.close();
    return new Damaged(t, fixture.disks);
  }

  private constructor(t: Test, source: string[]) {
    this.#t = t;
    this.#source = source;
  }

  /** Copies the disks, damages them, and rescues from those that `damage` returns, or all. */
  async rescue(
    damage: (disks: [string, string, string], place: string) => readonly string[] | undefined,
    flags: RescueFlags = {},
  ): Promise<{ to: string; summary: RescueSummary }> {
    const place = join(this.#t.testdirName, `damaged${this.#count++}`);
    const disks = this.#source.map((_, index) => join(place, `disk${index + 1}`)) as [string, string, string];
    this.#source.forEach((disk, index) => {
      cpSync(disk, disks[index]!, { recursive: true });
    });
    const given = damage(disks, place) ?? disks;
    const to = join(place, 'to');
    return { to, summary: await rescueTo(to, given, flags) };
  }
}

/** Every file is right under its name, or is not there and is in the report. */
function check(t: Test, to: string, lost: readonly string[] = []): void {
  const { problems } = JSON.parse(readFileSync(join(to, 'cairn-rescue.json'), 'utf8'));
  for (const name of names) {
    const listed = problems.some((problem: { path: string }) => problem.path === name);
    t.equal(existsSync(join(to, name)), !lost.includes(name), `${name} is there`);
    t.equal(listed, lost.includes(name), `${name} is listed`);
    if (existsSync(join(to, name)))
      t.ok(readFileSync(join(to, name)).equals(contentOf(name, FILES[name]!)), `${name} is right`);
  }
}

function segments(disk: string, stream: 'data' | 'journal'): string[] {
  return readdirSync(join(disk, 'log'))
    .filter((name) => name.startsWith(stream) && name.endsWith('.log'))
    .sort()
    .map((name) => join(disk, 'log', name));
}

/** Changes a byte in every `step` of the files. */
function scratch(paths: readonly string[], step: number, from: number): void {
  for (const path of paths) {
    const bytes = readFileSync(path);
    for (let at = from; at < bytes.length; at += step) bytes[at] = bytes[at]! ^ 0xff;
    writeFileSync(path, bytes);
  }
}

t.test('bare disks, damaged in each way', async (t) => {
  t.testdir();
  const pool = await Damaged.create(t);

  await t.test('two of three, in any order', async (t) => {
    for (const order of [
      [2, 0],
      [0, 1],
      [1, 2],
    ]) {
      const { to, summary } = await pool.rescue((disks) => order.map((index) => disks[index]!));
      check(t, to);
      t.match(summary, { complete: true, missingDisks: [1, 2, 3].filter((number) => !order.includes(number - 1)) });
    }
  });

  await t.test('a disk that the pool has let go of is not one that is missing', async (t) => {
    const { to, summary } = await pool.rescue((disks) => {
      for (const disk of disks) {
        const path = join(disk, MAP_FILE);
        const map = decodeMap(readFileSync(path));
        const gone = { ...map.disks[0]!, disk: 9, buckets: 0 };
        writeFileSync(path, encodeMap({ ...map, version: map.version + 1, disks: [...map.disks, gone] }));
      }
      return disks.slice(1);
    });
    check(t, to);
    t.match(summary, { complete: true, missingDisks: [1], emptiedDisks: [9] });
    t.match(sourceLines(summary), [
      /^pool/,
      /read/,
      /read/,
      /missing {2}disk 1 of/,
      /let go {3}disk 9: needed only if/,
    ]);
  });

  await t.test('without identity, index, map and lock', async (t) => {
    const { to, summary } = await pool.rescue((disks) => {
      for (const disk of disks) for (const name of readdirSync(disk)) if (name !== 'log') rmSync(join(disk, name));
      return disks.slice(1);
    });
    check(t, to);
    t.match(summary, { complete: true, missingDisks: undefined });
    t.match(summary.pool, /^[0-9a-f]{12}$/, 'the records say which pool it is');
  });

  await t.test('identity, index and map full of garbage', async (t) => {
    const { to, summary } = await pool.rescue((disks) => {
      for (const disk of disks)
        for (const name of ['cairn-disk.json', 'index.sqlite', 'map'])
          writeFileSync(join(disk, name), contentOf('garbage', 5000));
      return undefined;
    });
    check(t, to);
    t.match(summary.notes.join('\n'), /cairn-disk.json is damaged/);
    t.match(summary.notes.join('\n'), /map cannot be used/);
  });

  await t.test('an identity of another disk of the pool', async (t) => {
    const { to, summary } = await pool.rescue(([first, second]) => {
      cpSync(join(first, 'cairn-disk.json'), join(second, 'cairn-disk.json'));
      return [first, second];
    });
    check(t, to);
    t.match(summary.notes.join('\n'), /its cairn-disk.json belongs to another disk than its log/);
  });

  await t.test('damaged records on one disk', async (t) => {
    const { to, summary } = await pool.rescue(([first]) => {
      scratch([...segments(first, 'data'), ...segments(first, 'journal')], 20_000, 777);
      return undefined;
    });
    check(t, to);
    t.equal(summary.complete, true);
  });

  await t.test('damaged bulk shards on two disks', async (t) => {
    const { to, summary } = await pool.rescue(([first, second]) => {
      scratch([...segments(first, 'data'), ...segments(second, 'data')], 20_000, 777);
      return undefined;
    });
    check(t, to, ['shards', 'chunks']);
    t.match(summary, { complete: false, lost: 2, lostBytes: 600_000 });
    const text = readFileSync(join(to, 'cairn-rescue.txt'), 'utf8');
    t.match(text, /NOT RESTORED {2}shards: 100000 of its 100000 bytes cannot be read/);
    t.match(text, /disk1: shard \d, shard \d .*does not match its checksums; .*disk2: shard \d/, 'what each disk said');
  });

  await t.test('torn tails and truncated segments', async (t) => {
    const { to } = await pool.rescue(([first, second]) => {
      for (const path of segments(first, 'data')) truncateSync(path, Math.floor(statSync(path).size / 3));
      for (const path of segments(second, 'journal')) truncateSync(path, 1000);
      return undefined;
    });
    check(t, to);
  });

  await t.test('missing segments', async (t) => {
    const { to } = await pool.rescue(([first, second]) => {
      for (const path of segments(first, 'data')) rmSync(path);
      for (const path of segments(second, 'journal')) rmSync(path);
      return undefined;
    });
    check(t, to);
  });

  await t.test('the same disk twice, and a copy of a disk', async (t) => {
    const { to, summary } = await pool.rescue(([first, second], place) => {
      const copy = join(place, 'copy');
      cpSync(first, copy, { recursive: true });
      scratch(segments(first, 'data'), 20_000, 777);
      return [first, join(first, '..', 'disk1'), second, copy];
    });
    check(t, to);
    const notes = summary.notes.join('\n');
    t.match(notes, /disk1 is .*disk1 again: it is read once/);
    t.match(notes, /copy is a copy of the disk in .*disk1: both are read/);
  });

  await t.test('a disk of another pool', async (t) => {
    const other = makeDisk(t.testdir(), { number: 1, journal: [commitOf(1, [ROOT])] });
    await t.rejects(
      pool.rescue((disks) => [...disks, other]),
      {
        code: 'DISK_FOREIGN',
        message: /these disks are of 2 pools: .*disk1, .*disk3: pool [0-9a-f]{32}; .*: pool 0011/,
      },
    );
    let id = '';
    const first = await pool.rescue((disks) => {
      id = JSON.parse(readFileSync(join(disks[0], 'cairn-disk.json'), 'utf8')).identity.pool;
      return disks;
    });
    check(t, first.to);
    const chosen = await pool.rescue((disks) => [other, ...disks], { pool: id.slice(0, 6) });
    check(t, chosen.to);
    t.match(chosen.summary.notes.join('\n'), /is a disk of another pool, 0011.*: left out/);
    await t.rejects(
      pool.rescue(() => undefined, { pool: 'ffff' }),
      { code: 'DISK_FOREIGN', message: /no disk of these fits --pool ffff/ },
    );
  });

  await t.test('nothing in the directories', async (t) => {
    const place = t.testdir({ empty: {} });
    await t.rejects(rescueTo(join(place, 'to'), [join(place, 'empty')]), {
      code: 'DISK_MISSING',
      message: /none of these directories has a log of Cairn/,
    });
    await t.rejects(rescueTo(join(place, 'to'), [join(place, 'gone')]), { code: 'NOT_FOUND' });
    t.same(readdirSync(place), ['empty'], 'and nothing was made');
  });

  await t.test('an empty directory among the disks is named', async (t) => {
    const { to, summary } = await pool.rescue(([first, second], place) => {
      rmSync(join(place, 'disk3', 'log'), { recursive: true });
      return [first, second, join(place, 'disk3')];
    });
    check(t, to);
    t.match(summary.notes.join('\n'), /disk3.*log is not there: nothing can be read from this disk/);
  });
});

t.test('a disk that was away gives nothing old', async (t) => {
  const fixture = await PoolFixture.create(t);
  const write = async (name: string, content: Buffer): Promise<void> => {
    const file = await fixture.pool.openFile(`/${name}`, 'w');
    await file.write(0, content);
    await file.close();
    await fixture.pool.commit();
  };
  await write('overwritten', contentOf('before', 300_000));
  await write('removed', contentOf('removed', 70_000));
  await fixture.pool.close();
  const [first = '', second = '', third = ''] = fixture.disks;
  const away = `${third}.away`;
  execFileSync('mv', [third, away]);
  await fixture.open();
  await write('overwritten', contentOf('after', 300_000));
  await fixture.pool.remove('/removed');
  await write('added', contentOf('added', 200_000));
  await fixture.pool.close();
  execFileSync('mv', [away, third]);

  for (const [what, disks] of [
    ['with both others', [third, second, first]],
    ['with one other', [third, second]],
  ] as const) {
    const to = join(fixture.directory, what);
    const summary = await rescueTo(to, disks);
    const { problems } = JSON.parse(readFileSync(join(to, 'cairn-rescue.json'), 'utf8'));
    t.notOk(existsSync(join(to, 'removed')), `${what}: what was removed stays away`);
    for (const [name, seedName] of [
      ['overwritten', 'after'],
      ['added', 'added'],
    ] as const) {
      if (existsSync(join(to, name)))
        t.ok(
          readFileSync(join(to, name)).equals(contentOf(seedName, name === 'added' ? 200_000 : 300_000)),
          `${what}: ${name}`,
        );
      else
        t.ok(
          problems.some((problem: { path: string }) => problem.path === name),
          `${what}: ${name} is listed`,
        );
    }
    t.equal(summary.complete, problems.length === 0);
    if (what === 'with both others') t.equal(summary.complete, true);
  }
});
