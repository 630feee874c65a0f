/**
 * Damage on the disks: flipped bits, truncated segments. Reads are right as long as one disk is damaged, and an error where two are; the log and
 * status name the disk.
 */
import { open, readdir, readFile, rm, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import t from 'tap';
import { contentOf } from './content.js';
import { cannotMount, MountHarness } from './mount-harness.js';
import { checkSome, SIZES, writeSome } from './samples.js';

const MIB = 1024 * 1024;
const KIB = 1024;

async function segmentsOf(disk: string, stream: 'data' | 'journal'): Promise<string[]> {
  const names = await readdir(join(disk, 'log'));
  return names.filter((name) => name.startsWith(stream)).map((name) => join(disk, 'log', name));
}

/** One bit in every 16 KiB of what a stream holds: no shard and no record of some size is whole afterwards. */
async function flipBits(disk: string, stream: 'data' | 'journal'): Promise<void> {
  for (const path of await segmentsOf(disk, stream)) {
    const file = await open(path, 'r+');
    const { size } = await file.stat();
    const byte = Buffer.alloc(1);
    for (let at = 4096 + 777; at < size; at += 16 * KIB) {
      await file.read(byte, 0, 1, at);
      byte[0]! ^= 0x10;
      await file.write(byte, 0, 1, at);
    }
    await file.close();
  }
}

t.test('damaged shards', { skip: cannotMount() }, async (t) => {
  const harness = await MountHarness.create(t, { init: ['--bucket-size', '64MiB', '--scheme', 'ec:2+1'] });
  const [first = '', second = ''] = harness.disks;
  await harness.init();
  await harness.mount();
  await writeSome(harness, 'before');
  await harness.unmount();

  await t.test('on one disk: what is read is right', async (t) => {
    await flipBits(first, 'data');
    await harness.mount();
    await checkSome(t, harness, 'before');
    t.match((await harness.log()).join('\n'), new RegExp(`${first} is damaged`), 'the log names the disk');
    // What reads met is repaired by itself, in the background.
    while (!/repair is done/.test((await harness.log()).join('\n'))) await setTimeout(100);
    await harness.healed();
    await writeSome(harness, 'after');
    await harness.unmount();
    await harness.mount();
    await checkSome(t, harness, 'after');
    await harness.unmount();
  });

  await t.test('of the same chunks on two disks: an error, never wrong bytes', async (t) => {
    await flipBits(first, 'data');
    await flipBits(second, 'data');
    await harness.mount();
    let errors = 0;
    for (const size of SIZES) {
      const path = join(harness.mountpoint, 'before', `${size}`);
      try {
        const found = await readFile(path);
        t.ok(found.equals(contentOf(`before ${size}`, size)), `${size} bytes: what can be read is right`);
      } catch (error) {
        errors += 1;
        t.match(error, { code: 'EIO' }, `${size} bytes: an error`);
      }
    }
    t.ok(errors > 0, 'some cannot be read any more');
    t.match((await harness.log()).join('\n'), /cannot be read/);
    await harness.unmount();
  });
});

t.test('truncated segments', { skip: cannotMount() }, async (t) => {
  const harness = await MountHarness.create(t, { init: ['--bucket-size', '64MiB', '--scheme', 'ec:2+1'] });
  const { disks, meta } = harness;
  await harness.init();
  await harness.mount();
  await writeSome(harness, 'before');
  await harness.unmount();

  for (const stream of ['data', 'journal'] as const) {
    await t.test(stream, async (t) => {
      const disk = disks[stream === 'data' ? 1 : 2]!;
      const [segment = ''] = (await segmentsOf(disk, stream)).sort();
      const { size } = await stat(segment);
      const kept = stream === 'data' ? 4 * MIB : 8 * KIB;
      t.ok(kept < size);
      await truncate(segment, kept);
      await harness.mount();
      t.match((await harness.log()).join('\n'), new RegExp(`${stream} segment \\d+.*truncated`), 'the log says so');
      await checkSome(t, harness, 'before');
      await writeSome(harness, `after ${stream}`);
      await harness.unmount();
      await rm(meta, { recursive: true });
      await harness.mount();
      for (const name of ['before', `after ${stream}`]) await checkSome(t, harness, name);
      await harness.unmount();
    });
  }

  await t.test('a damaged journal on one disk, and no metadata', async (t) => {
    await flipBits(disks[0]!, 'journal');
    await rm(meta, { recursive: true });
    await harness.mount();
    await checkSome(t, harness, 'before');
    await harness.unmount();
  });
});
