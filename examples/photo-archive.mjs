/**
 * Keeps a few files in a pool of three disks, without a mount, and shows that it needs only two of them.
 *
 *     node examples/photo-archive.mjs [directory]
 *
 * The directory (a temporary one if none is given) stands for a machine: disk1 to disk3 would be mount points of three disks.
 */
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CairnError, Pool } from 'cairnfs';

const given = process.argv[2];
const machine = given ?? (await mkdtemp(join(tmpdir(), 'cairn-example-')));
const at = (name) => join(machine, name);
const disks = ['disk1', 'disk2', 'disk3'].map(at);
for (const directory of [...disks, at('cache')]) await mkdir(directory, { recursive: true });

try {
  const made = await Pool.init(at('pool'), { disks, cache: at('cache') });
  console.log(made.protection);

  const pool = await Pool.open(at('pool'));
  await pool.makeDirectory('/photos');

  // A file of some size: staged in the cache at once, then committed to the disks with progress.
  const photo = await pool.openFile('/photos/lake.raw', 'w');
  const line = Buffer.alloc(1024 * 1024, 'light on the water ');
  for (let i = 0; i < 8; i++) await photo.write(i * line.length, line);
  let committedBytes = 0;
  await photo.commit(({ bytesDone }) => {
    committedBytes = bytesDone;
  });
  console.log(`committed ${committedBytes} bytes`);
  await photo.close();

  // A journal that grows: flush makes each line safe against a power cut, commit against the loss of a disk as well.
  const journal = await pool.openFile('/photos/journal.txt', 'a');
  for (const day of ['monday', 'tuesday']) {
    await journal.append(Buffer.from(`${day}: by the lake\n`));
    await journal.flush();
  }
  await journal.close();

  for (const { name, kind } of await pool.list('/photos')) {
    const { sizeBytes } = await pool.stat(`/photos/${name}`);
    console.log(`${kind} ${name} ${sizeBytes}`);
  }
  // Commits what is left.
  await pool.close();

  // One disk is gone.
  await rename(at('disk2'), at('disk2-in-a-drawer'));
  const degraded = await Pool.open(at('pool'));
  const { health } = await degraded.control.status();
  const lake = await degraded.openFile('/photos/lake.raw');
  const begin = await lake.read(0, 18);
  await lake.close();
  console.log(`${health}: ${begin}`);
  try {
    await degraded.openFile('/photos/sea.raw');
  } catch (error) {
    if (!(error instanceof CairnError && error.code === 'NOT_FOUND')) throw error;
    console.log(error.message);
  }
  await degraded.close();
} finally {
  if (given === undefined) await rm(machine, { recursive: true, force: true });
}
