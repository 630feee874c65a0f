/**
 * Who a disk is: the file `cairn-disk.json` at its top. It is written last when a disk is made and checked first when it is opened, so
 * that an empty directory (a disk that is not mounted) is never written to and a disk of another pool is never taken for ours.
 * `{ "identity": {…}, "checksum": "…" }`, the checksum being SHA-256 over the JSON text of the identity.
 */
import { createHash } from 'node:crypto';
import { dirname, join } from 'node:path';
import { CairnError, hasCode } from '../errors/cairn-error.js';
import type { FileIo } from '../io/file-io.js';
import type { DiskIdentity, DiskRole } from './disk.js';

export const IDENTITY_FILE = 'cairn-disk.json';
/** Several times what it has. */
const IDENTITY_BYTES_MAX = 4096;
const FORMAT = 1;
const MIB = 1024 * 1024;
const KIB = 1024;
/** What mkfs leaves in a new file system, and what a crash leaves of an identity that was being written: that is no disk yet. */
const HARMLESS = new Set(['lost+found', 'lock', `${IDENTITY_FILE}.tmp`]);
const ROLES: readonly DiskRole[] = ['data', 'journal', 'cache'];

/** Segment sizes for a disk: 256 and 16 MiB, less where the disk is small, so that there are at least eight of them. */
export function defaultSegmentBytes(capacityBytes: number): { dataSegmentBytes: number; journalSegmentBytes: number } {
  const data = Math.min(256 * MIB, Math.max(8 * MIB, capacityBytes / 16), capacityBytes / 8);
  const journal = Math.min(16 * MIB, Math.max(MIB, capacityBytes / 32), capacityBytes / 32);
  return { dataSegmentBytes: rounded(data, 64 * KIB), journalSegmentBytes: rounded(journal, 64 * KIB) };
}

function rounded(bytes: number, unit: number): number {
  return Math.max(1, Math.floor(bytes / unit)) * unit;
}

/**
 * Makes an empty directory a disk. EXISTS if it is one already, NOT_EMPTY if something else is in it, INVALID if the identity
 * makes no sense. The directory is made if it is not there.
 */
export async function createDisk(io: FileIo, directory: string, identity: DiskIdentity): Promise<void> {
  await checkNewDisk(io, directory, identity);
  await io.makeDirectory(directory);
  await io.syncDirectory(dirname(directory));
  const text = JSON.stringify(identity);
  const file = `${JSON.stringify({ identity, checksum: checksum(text) }, undefined, 2)}\n`;
  await io.replaceFile(join(directory, IDENTITY_FILE), Buffer.from(file));
}

/** Throws what `createDisk` would refuse, and writes nothing: whoever makes several disks asks for all of them first. */
export async function checkNewDisk(io: FileIo, directory: string, identity: DiskIdentity): Promise<void> {
  const problem = problemOf(identity);
  if (problem !== undefined) throw new CairnError('INVALID', `a disk in ${directory} cannot be made: ${problem}`);
  const found = await io.list(directory).catch((error: unknown): string[] => {
    if (hasCode(error, 'NOT_FOUND')) return [];
    throw error;
  });
  const entries = found.filter((entry) => !HARMLESS.has(entry));
  if (entries.includes(IDENTITY_FILE)) {
    const { pool } = await readIdentity(io, directory);
    throw new CairnError('EXISTS', `${directory} already is a disk, of pool ${pool}`, {
      hint: 'choose another directory; if that pool is lost, `cairn rescue --help` and docs/operations.md say how its files come back',
    });
  }
  if (entries.length > 0) {
    throw new CairnError('NOT_EMPTY', `${directory} is not empty: it holds ${entries[0]}`, {
      hint: 'choose an empty directory',
    });
  }
}

/** DISK_MISSING if there is no disk, CORRUPT if its identity cannot be trusted. */
export async function readIdentity(io: FileIo, directory: string): Promise<DiskIdentity> {
  const hint = 'mount the disk, or correct the path';
  if (!(await io.exists(directory))) throw new CairnError('DISK_MISSING', `${directory} is not there`, { hint });
  let bytes: Buffer;
  try {
    bytes = await io.readFile(join(directory, IDENTITY_FILE));
  } catch (error) {
    if (hasCode(error, 'NOT_FOUND', 'NOT_DIRECTORY')) {
      throw new CairnError('DISK_MISSING', `${directory} is not a disk: it has no ${IDENTITY_FILE}`, {
        hint,
        cause: error,
      });
    }
    throw error;
  }
  return decodeIdentity(bytes, directory);
}

/** As `readIdentity`, of a disk that may be written: fails as an opening for writing does. One job in the thread pool where that can be, for whoever asks again and again. */
export async function readWritableIdentity(io: FileIo, directory: string): Promise<DiskIdentity> {
  const path = join(directory, IDENTITY_FILE);
  const bytes = Buffer.alloc(IDENTITY_BYTES_MAX);
  try {
    const length = await (io.readWritable?.(path, bytes) ?? readStepByStep(io, path, bytes));
    return decodeIdentity(bytes.subarray(0, length), directory);
  } catch (error) {
    // What exactly is not there is said by the one that looks step by step.
    if (hasCode(error, 'NOT_FOUND', 'NOT_DIRECTORY')) return readIdentity(io, directory);
    throw error;
  }
}

async function readStepByStep(io: FileIo, path: string, into: Buffer): Promise<number> {
  const file = await io.open(path, {});
  try {
    return await file.read(into, 0);
  } finally {
    await file.close();
  }
}

/** CORRUPT on anything but an identity. */
export function decodeIdentity(bytes: Buffer, directory: string): DiskIdentity {
  const damaged = (what: string): CairnError =>
    new CairnError('CORRUPT', `${join(directory, IDENTITY_FILE)} is damaged: ${what}`, {
      hint: 'replace the disk: its content is rebuilt from the others',
    });
  let file: unknown;
  try {
    file = JSON.parse(bytes.toString('utf8'));
  } catch (error) {
    throw damaged(error instanceof Error ? error.message : 'no JSON');
  }
  const { identity, checksum: expected } = asRecord(file);
  const fields = asRecord(identity);
  if (expected !== checksum(JSON.stringify(identity) ?? '')) throw damaged('its checksum does not match');
  if (fields['format'] !== FORMAT) throw damaged(`format ${String(fields['format'])} is not known`);
  const read = {
    format: FORMAT,
    pool: fields['pool'],
    uuid: fields['uuid'],
    number: fields['number'],
    role: fields['role'],
    capacityBytes: fields['capacityBytes'],
    dataSegmentBytes: fields['dataSegmentBytes'],
    journalSegmentBytes: fields['journalSegmentBytes'],
  } as DiskIdentity;
  const problem = problemOf(read);
  if (problem !== undefined) throw damaged(problem);
  return read;
}

function problemOf(identity: DiskIdentity): string | undefined {
  const { pool, uuid, number, role, capacityBytes, dataSegmentBytes, journalSegmentBytes } = identity;
  if (typeof pool !== 'string' || !/^[0-9a-f]{32}$/.test(pool)) return 'the pool id is not 32 hex digits';
  if (typeof uuid !== 'string' || !/^[0-9a-f]{32}$/.test(uuid)) return 'the disk id is not 32 hex digits';
  if (!ROLES.includes(role)) return `role ${String(role)} is not known`;
  if (!Number.isInteger(number) || number < (role === 'data' ? 1 : 0) || number > 65535)
    return `number ${String(number)} is out of range`;
  for (const [name, bytes] of Object.entries({ dataSegmentBytes, journalSegmentBytes })) {
    if (!Number.isSafeInteger(bytes) || bytes < 4 * KIB || bytes > 4096 * MIB - 64 || bytes % 64 !== 0)
      return `${name} ${bytes} is out of range`;
  }
  if (!Number.isSafeInteger(capacityBytes) || capacityBytes < 2 * (dataSegmentBytes + 2 * journalSegmentBytes)) {
    return `${capacityBytes} bytes are too few for segments of ${dataSegmentBytes} and ${journalSegmentBytes}`;
  }
  return undefined;
}

function asRecord(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

function checksum(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
