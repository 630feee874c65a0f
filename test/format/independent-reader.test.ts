/**
 * docs/format.md is enough to write another reader: bare-reader.py was written from it and from the layout tables that it names, in another
 * language, and gives the same files from two of three disks.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import type { FileMode } from '../../src/pool/pool.js';
import { contentOf } from '../integration/content.js';
import { text } from '../unit/chunks/fixture.js';
import { PoolFixture } from '../unit/vfs/pool-fixture.js';

const SCRIPT = fileURLToPath(new URL('../../../test/format/bare-reader.py', import.meta.url));
/** Kept as copies, as one chunk of shards, as several chunks. */
const SIZES = [0, 1, 5000, 65_536, 65_537, 131_072, 300_000];

function cannotRun(): string | false {
  try {
    execFileSync('python3', ['--version'], { stdio: 'ignore' });
    return false;
  } catch {
    return 'there is no python3 here';
  }
}

/** The program, which unpacks compressed chunks for it. */
function hasZstd(): boolean {
  try {
    execFileSync('zstd', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

t.test('another reader, written from the document, gives the same files', { skip: cannotRun() }, async (t) => {
  const fixture = await PoolFixture.create(t);
  const expected = new Map<string, string>();
  const write = async (path: string, content: Buffer, mode: FileMode = 'w'): Promise<void> => {
    const file = await fixture.pool.openFile(path, mode);
    if (mode === 'a') await file.append(content);
    else await file.write(0, content);
    await file.close();
    await fixture.pool.commit();
  };
  const expect = (path: string, content: Buffer): void => {
    const hash = createHash('sha256').update(content).digest('hex');
    expected.set(Buffer.from(path.slice(1)).toString('hex'), hash);
  };
  const snapshotAfterwards = async (): Promise<void> => {
    // So many commits that closing takes a snapshot.
    for (let i = 0; i < 70; i++) await write('/counter', Buffer.from(`${i}`));
    await fixture.pool.close();
    t.match(fixture.lines.join('\n'), /took a metadata snapshot/);
    await fixture.open();
  };

  await fixture.pool.makeDirectory('/photos');
  await fixture.pool.makeDirectory('/photos/été');
  for (const size of SIZES) {
    await write(`/photos/été/${size}`, contentOf(`${size}`, size));
    expect(`/photos/été/${size}`, contentOf(`${size}`, size));
  }
  await write('/removed', contentOf('removed', 200_000));
  await snapshotAfterwards();
  // What follows is in commits only.
  await fixture.pool.remove('/removed');
  if (hasZstd()) {
    await fixture.pool.makeDirectory('/zipped');
    await fixture.pool.control.setPolicy('/zipped', { compression: 'zstd' });
    for (const size of [3000, 300_000]) {
      const path = `/zipped/${size}`;
      await write(path, text(size, size));
      expect(path, text(size, size));
      t.match(await fixture.pool.control.state(path), { compressed: { bytes: size } });
    }
  }
  await write('/counter', Buffer.from('last'));
  expect('/counter', Buffer.from('last'));
  const before = contentOf('overwritten', 300_000);
  await write('/overwritten', before);
  await write('/overwritten', contentOf('middle', 150_000), 'r+');
  expect('/overwritten', Buffer.concat([contentOf('middle', 150_000), before.subarray(150_000)]));
  await write('/photos/grown', contentOf('grown', 70_000));
  await write('/photos/grown', contentOf('more', 70_000), 'a');
  expect('/photos/grown', Buffer.concat([contentOf('grown', 70_000), contentOf('more', 70_000)]));
  await fixture.pool.rename('/photos/grown', '/photos/renamed');
  const grown = Buffer.from('photos/grown').toString('hex');
  expected.set(Buffer.from('photos/renamed').toString('hex'), expected.get(grown)!);
  expected.delete(grown);
  await fixture.pool.close();

  for (const missing of [1, 0, 2]) {
    const disks = fixture.disks.filter((_, index) => index !== missing);
    for (const disk of disks) rmSync(join(disk, 'index.sqlite'), { force: true });
    const out = execFileSync('python3', [SCRIPT, ...disks], { encoding: 'utf8', maxBuffer: 1 << 26 });
    const found = new Map(
      out
        .trim()
        .split('\n')
        .map((line) => line.split(' ').reverse() as [string, string]),
    );
    t.same(found, expected, `without disk ${missing + 1}`);
  }
});
