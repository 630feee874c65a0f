/** A SQLite database on a strong mount: every acknowledged transaction survives kill -9, and a disk pulled out after it. */
import { join } from 'node:path';
import Database from 'better-sqlite3';
import t, { type Test } from 'tap';
import { cannotMount, MountHarness } from './mount-harness.js';
import { SCALE } from './scale.js';
import { findLostTransactions } from './transactions.js';

/** The first column of the first row. */
function query(path: string, sql: string): unknown {
  const database = new Database(path);
  try {
    return database.prepare(sql).pluck().get();
  } finally {
    database.close();
  }
}

function check(t: Test, path: string, acknowledged: number): void {
  t.same(findLostTransactions(path, acknowledged), [], `all of ${acknowledged} acknowledged transactions`);
}

for (const mode of ['wal', 'delete']) {
  t.test(`${mode} mode`, { skip: cannotMount() }, async (t) => {
    const harness = await MountHarness.create(t, { init: ['--bucket-size', '16MiB', '--scheme', 'ec:2+1'] });
    const { mountpoint, disks } = harness;
    const path = join(mountpoint, 'data.sqlite');
    await harness.init();
    await harness.mount('--strong');
    const half = SCALE.transactions / 2;
    // It goes on until it is killed.
    const writer = harness.script('sqlite-writer', path, mode, '1', '1000000');
    await writer.until((lines) => lines.length >= half);
    await harness.kill();
    await writer.ended;
    const killedAfter = writer.lines.length;
    const total = killedAfter + half;

    await harness.mount('--strong');
    check(t, path, killedAfter);
    const rest = harness.script('sqlite-writer', path, mode, `${killedAfter + 1}`, `${total}`);
    await rest.ended;
    t.equal(rest.lines.at(-1), `${total}`, 'all the rest are acknowledged');
    await harness.kill();

    const putBack = await harness.pullOut(disks[1]!);
    await harness.mount('--strong');
    t.equal((await harness.status()).health, 'degraded');
    check(t, path, total);
    // And it goes on, degraded.
    const more = harness.script('sqlite-writer', path, mode, `${total + 1}`, `${total + 20}`);
    t.same(await more.ended, { code: 0, signal: null, stderr: '' });
    await harness.kill();
    await putBack();

    // The strong promise does not need the cache device.
    await harness.loseCache();
    await harness.mount('--strong');
    check(t, path, total + 20);
    await harness.unmount();
  });
}

t.test('every journal mode, several writers at once, and a kill', { skip: cannotMount() }, async (t) => {
  const harness = await MountHarness.create(t, { init: ['--bucket-size', '16MiB', '--scheme', 'ec:2+1'] });
  await harness.init();
  await harness.mount('--strong');
  const writers = ['a', 'b', 'c'];
  const each = SCALE.transactions / 20;
  const pathOf = (journal: string) => join(harness.mountpoint, `${journal}.sqlite`);
  for (const journal of ['wal', 'delete', 'truncate', 'persist']) {
    const path = pathOf(journal);
    // The journal mode is set once: changing it needs the database for oneself.
    query(path, `PRAGMA journal_mode = ${journal}`);
    const running = writers.map((writer) => harness.script('sqlite-sharer-writer', path, journal, writer, `${each}`));
    for (const writer of running) t.same(await writer.ended, { code: 0, signal: null, stderr: '' }, journal);
  }
  const alone = ['truncate', 'persist'].map((journal) => {
    const path = join(harness.mountpoint, `killed-${journal}.sqlite`);
    return { path, writer: harness.script('sqlite-writer', path, journal, '1', '1000000') };
  });
  for (const { writer } of alone) await writer.until((lines) => lines.length >= each);
  await harness.kill();
  for (const { writer } of alone) await writer.ended;
  await harness.loseCache();
  await harness.mount('--strong');
  for (const { path, writer } of alone) check(t, path, writer.lines.length);
  for (const journal of ['wal', 'delete', 'truncate', 'persist']) {
    const path = pathOf(journal);
    t.equal(query(path, 'PRAGMA integrity_check'), 'ok', journal);
    t.equal(query(path, 'SELECT count(*) FROM shared'), writers.length * each, 'no two had one place, none was lost');
    for (const writer of writers)
      t.equal(query(path, `SELECT max(number) FROM shared WHERE writer = '${writer}'`), each, `${journal}, ${writer}`);
  }
  await harness.unmount();
});

t.test('a killed writer, a living daemon, two readers', { skip: cannotMount() }, async (t) => {
  const harness = await MountHarness.create(t, { init: ['--bucket-size', '16MiB', '--scheme', 'ec:2+1'] });
  const path = join(harness.mountpoint, 'data.sqlite');
  await harness.init();
  await harness.mount('--strong');
  const writer = harness.script('sqlite-writer', path, 'wal', '1', '1000000');
  await writer.until((lines) => lines.length >= 40);
  // Another process sees through the shared memory of the WAL what this one has committed.
  const seen = Number(query(path, 'SELECT max(id) FROM entry'));
  t.ok(seen >= 40, 'a reader sees what was committed before it looked', { seen });
  await writer.until((lines) => lines.length >= 80);
  writer.kill();
  await writer.ended;
  check(t, path, writer.lines.length);
  await harness.unmount();
});
