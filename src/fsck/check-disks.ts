/** The disks as a whole: are they there, are they who cairn.toml says, and do they all hold the same diskmap. */
import { join } from 'node:path';
import { type DiskMap, decodeMap, encodeMap } from '../../diskmap/index.js';
import type { Disk } from '../disks/disk.js';
import { decodeIdentity, IDENTITY_FILE } from '../disks/disk-identity.js';
import { CairnError, messageOf } from '../errors/cairn-error.js';
import { FIX_ORDER, type PoolRun } from './check-run.js';
import { listed, nameOf } from './words.js';

export async function checkDisks(run: PoolRun): Promise<void> {
  checkPresence(run);
  for (const disk of run.pool.disks.opened) await checkIdentity(run, disk);
  await checkMaps(run);
}

function checkPresence(run: PoolRun): void {
  const { disks } = run.pool;
  for (const { role, directory, state, reason } of disks.reports()) {
    if (state === 'online') continue;
    const many = disks.tooMany !== undefined;
    run.report({
      severity: many ? 'loss' : 'damage',
      code: `disk-${state}`,
      message: `the ${role} disk at ${directory} is ${state}${reason === '' ? '' : ` (${reason})`}: ${
        many
          ? 'so many disks are away that a part of the data cannot be read'
          : 'everything is read from the others, and is less safe'
      }`,
      advice:
        state === 'suspect'
          ? 'look at the disk, then unmount and mount the pool'
          : 'connect it, or put the right one in its place',
    });
  }
}

async function checkIdentity(run: PoolRun, disk: Disk): Promise<void> {
  const { config, map } = run.pool;
  const wrong: string[] = [];
  try {
    const bytes = await run.files.readFile(join(disk.directory, IDENTITY_FILE));
    const identity = decodeIdentity(bytes, disk.directory);
    const place = config.disks.find(({ uuid }) => uuid === disk.identity.uuid);
    if (identity.pool !== config.pool) wrong.push(`it is of pool ${identity.pool}`);
    if (identity.uuid !== disk.identity.uuid) wrong.push(`its id is ${identity.uuid}`);
    if (place !== undefined && identity.role !== place.role) wrong.push(`its role is ${identity.role}`);
    if (place !== undefined && identity.number !== place.number)
      wrong.push(`its number is ${identity.number}, and ${place.number} in cairn.toml`);
    const mapped = map.disks.find((one) => one.disk === identity.number);
    if (identity.role === 'data' && mapped === undefined) wrong.push('the diskmap does not know it: it is not in use');
    // A disk that is being emptied has no buckets any more.
    const buckets = mapped?.buckets ?? 0;
    if (identity.role === 'data' && buckets > 0 && buckets * map.bucketBytes !== identity.capacityBytes)
      wrong.push(`it has ${identity.capacityBytes} bytes, and ${buckets} buckets in the diskmap`);
  } catch (error) {
    if (!(error instanceof CairnError)) throw error;
    wrong.push(messageOf(error));
  }
  if (wrong.length === 0) return;
  run.report({
    severity: 'damage',
    code: 'disk-identity',
    message: `${nameOf(disk)} is not as it should be: ${listed(wrong)}`,
    advice: 'correct cairn.toml, or put the right disk in its place; the pool may not open with it otherwise',
  });
}

async function checkMaps(run: PoolRun): Promise<void> {
  const { map, disks } = run.pool;
  const right = Buffer.from(encodeMap(map));
  const fix = (disk: Disk) => ({ order: FIX_ORDER.map, run: () => disk.writeMap(right) });
  for (const disk of disks.opened) {
    if (disk.identity.role !== 'data' || disk.state === 'offline') continue;
    const why = await mapFault(disk, map, right);
    if (why === undefined) continue;
    run.report({
      severity: 'damage',
      code: 'map-copy',
      message: `the diskmap on ${nameOf(disk)} ${why}: the pool works from the other copies`,
      fix: fix(disk),
    });
  }
}

async function mapFault(disk: Disk, map: DiskMap, right: Buffer): Promise<string | undefined> {
  try {
    const bytes = await disk.readMap();
    if (bytes === undefined) return 'is not there';
    if (bytes.equals(right)) return undefined;
    const found = decodeMap(bytes);
    return found.version < map.version ? `is the old version ${found.version}` : 'is not the one of the pool';
  } catch (error) {
    return `cannot be read (${messageOf(error)})`;
  }
}
