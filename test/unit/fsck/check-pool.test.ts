/** A pool in order has no findings, whatever has happened to it. */
import { randomBytes } from 'node:crypto';
import t from 'tap';
import { check, filled, write } from './planted-pool.js';

const KIB = 1024;

t.test('a pool that is in order has no findings, whatever has happened to it', async (t) => {
  const { fixture } = await filled(t);
  const report = await check(fixture, { content: true });
  t.strictSame(report.findings, []);
  t.equal(report.clean, true);
  t.equal(report.checked.disks, 3);
  t.equal(report.checked.names, 6);
  t.equal(report.checked.inodes, 7);
  t.ok(report.checked.commits > 0);
  t.ok(report.checked.contentBytes >= 773 * KIB);
  await fixture.pool.remove('/photos/medium');
  await write(fixture, '/small.txt', randomBytes(5 * KIB));
  await fixture.pool.rename('/photos/2026/large', '/large');
  await fixture.pool.commit();
  t.strictSame((await check(fixture)).findings, [], 'after overwriting, removing and renaming');
  await fixture.pool.collect();
  t.strictSame((await check(fixture)).findings, [], 'after collection');
  await write(fixture, '/staged', randomBytes(200 * KIB));
  t.strictSame((await check(fixture, { live: true })).findings, [], 'with bytes that are staged');
  await fixture.kill();
  t.strictSame((await check(fixture, { content: true })).findings, [], 'after a kill');
  await fixture.pool.commit();
  await fixture.pool.parts.takeSnapshot();
  t.strictSame((await check(fixture)).findings, [], 'after a snapshot');
  await fixture.reopenWithout('meta');
  t.strictSame((await check(fixture, { live: true, content: true })).findings, [], 'with rebuilt metadata');
});
