/** What is asked of every pool that comes back after a stop, beyond its promises. */
import { checkPool } from '../../src/fsck/check-pool.js';
import { ROOT_INO } from '../../src/meta/rows.js';
import type { Pool } from '../../src/pool/pool.js';

const CALLER = { uid: 1000, gid: 1000, pid: 1 };
const PROBE = 'probe';
const PROBE_BYTES = Buffer.alloc(70_000, PROBE);

/** It is writable again: a file is made, committed, read and removed. */
export async function probe(pool: Pool): Promise<void> {
  const { vfs } = pool;
  const { attr, handle } = await vfs.create(ROOT_INO, PROBE, 0o600, { read: true, write: true }, CALLER);
  if (attr.nlink !== 1 || attr.sizeBytes !== 0) throw new Error('an inode number was given out twice');
  await vfs.write(handle, 0, PROBE_BYTES);
  await pool.commit();
  const { state, health } = await pool.control.state(`/${PROBE}`);
  if (state !== 'committed' || health === 'lost')
    throw new Error(`a new file is ${state} and ${health} after a commit`);
  const read = Buffer.concat((await vfs.read(handle, 0, PROBE_BYTES.length)) as Uint8Array[]);
  if (!read.equals(PROBE_BYTES)) throw new Error('a new file does not read as written');
  await vfs.unlink(ROOT_INO, PROBE);
  await vfs.release(handle);
}

/**
 * Nothing is left over and everything adds up: after a collection, a check of the whole pool finds nothing. `degraded`: a disk is missing or
 * was damaged, so that chunks may have fewer shards than they should, and disks may differ.
 */
export async function audit(pool: Pool, degraded: boolean): Promise<void> {
  await pool.commit();
  // What a collection moves may leave something for the next one, never more than twice.
  for (let i = 0; i < 3; i++) await pool.collect();
  const { findings } = await checkPool(pool.parts, { content: true });
  const wrong = findings.filter(
    ({ severity, code }) =>
      severity === 'loss' || code === 'map-copy' || (!degraded && (severity === 'damage' || code === 'shard-orphan')),
  );
  if (wrong.length > 0)
    throw new Error(
      `after the recovery a check finds: ${wrong.map(({ code, message }) => `${code}: ${message}`).join('; ')}`,
    );
}
