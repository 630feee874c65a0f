/**
 * A program that must know when what it has written is safe: an inbox that answers only then.
 *
 *     npx tsc --build && node dist/examples/await-commit.js [directory]
 *
 * `flush` makes a file safe against a power cut, as long as the cache device lives. `commit` makes it safe against the loss of a disk, of the cache and of the
 * metadata as well, and says how far it is. Several commits that are asked for at once share one round to the disks.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CairnError, Pool } from 'cairnfs';

/** Resolves when the message survives the loss of any one disk. */
async function receive(pool: Pool, id: string, message: Uint8Array): Promise<void> {
  const file = await pool.openFile(`/inbox/${id}`, 'w');
  try {
    await file.write(0, message);
    await file.commit(({ bytesDone, bytesTotal }) => {
      if (bytesDone < bytesTotal) console.log(`${id}: ${Math.floor((bytesDone / bytesTotal) * 100)} %`);
    });
  } finally {
    await file.close();
  }
}

const given = process.argv[2];
const machine = given ?? (await mkdtemp(join(tmpdir(), 'cairn-example-')));
const at = (name: string): string => join(machine, name);
try {
  const disks = ['disk1', 'disk2', 'disk3'].map(at);
  for (const directory of [...disks, at('cache')]) await mkdir(directory, { recursive: true });
  await Pool.init(at('pool'), { disks, cache: at('cache') });
  const pool = await Pool.open(at('pool'));
  try {
    await pool.makeDirectory('/inbox');
    const before = (await pool.control.status()).commitSequence;
    await Promise.all(['a', 'b', 'c'].map((id) => receive(pool, id, Buffer.from(`message ${id}\n`))));
    const { state, health } = await pool.control.state('/inbox/b');
    const rounds = (await pool.control.status()).commitSequence - before;
    console.log(`three messages are ${state} and ${health}, after ${rounds <= 3 ? 'at most three' : rounds} rounds`);
    // Where there is no room, or too few disks, a commit says so, and the bytes stay staged: nothing is lost, nothing is claimed.
    await receive(pool, 'no/such/directory', Buffer.from('x')).catch((error: unknown) => {
      if (!(error instanceof CairnError)) throw error;
      console.log(`refused with ${error.code}`);
    });
  } finally {
    await pool.close();
  }
} finally {
  if (given === undefined) await rm(machine, { recursive: true, force: true });
}
