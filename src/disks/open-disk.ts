/** Opens a disk: identity, lock, index, both logs, then what the logs have and the index lacks. */
import { join } from 'node:path';
import { CairnError, systemCode } from '../errors/cairn-error.js';
import { type Clock, SystemClock } from '../io/clock.js';
import type { FileIo, IoLock } from '../io/file-io.js';
import type { AppendLog } from './append-log.js';
import type { Disk, DiskIdentity, DiskRole, LogEnds, StreamName } from './disk.js';
import { readIdentity } from './disk-identity.js';
import { DiskIndex } from './disk-index.js';
import { dropLostEntries, replayLogs } from './disk-replay.js';
import { isIndexFailure, removeIndexFiles } from './index-database.js';
import { JournalState } from './journal-state.js';
import { LogNumbers, type LogPoint } from './log-context.js';
import { LogDisk } from './log-disk.js';
import type { Crc32c } from './record-codec.js';
import { openLog } from './segment-log.js';

const LOCK_FILE = 'lock';

/** What the pool expects to find in the directory. */
export interface ExpectedDisk {
  readonly pool: string;
  readonly uuid?: string;
  readonly role?: DiskRole;
}

export interface OpenDiskOptions {
  /** Where the index file is; `index.sqlite` in the directory by default, `:memory:` for none. */
  readonly indexPath?: string;
  readonly clock?: Clock;
  readonly crc32c?: Crc32c;
  /** The disk failed in this process, and only up to here was it known what the device has: the rest is written once more. */
  readonly unsure?: LogEnds;
}

/**
 * DISK_MISSING: no directory, or no disk in it (which is never written to). DISK_FOREIGN: of another pool, another disk, or another role. LOCKED:
 * another process has it. CORRUPT: its identity is damaged. What was found and mended is in `openReport`.
 */
export async function openDisk(
  io: FileIo,
  directory: string,
  expected: ExpectedDisk,
  options: OpenDiskOptions = {},
): Promise<Disk> {
  const identity = await readIdentity(io, directory);
  checkExpected(identity, directory, expected);
  const lockPath = join(directory, LOCK_FILE);
  const lock = await io.lock(lockPath);
  const path = options.indexPath ?? join(directory, 'index.sqlite');
  const answers = async (): Promise<boolean> => (await io.answers?.(lockPath)) ?? true;
  const open = async (indexPath: string, openReport: string[]): Promise<Disk> => {
    // SQLite opens and closes its files on this thread.
    if (!(await answers())) throw new CairnError('IO', `the device of ${directory} does not answer`);
    const index = new DiskIndex(indexPath, identity.uuid, options.clock ?? new SystemClock());
    try {
      return await assemble({ io, directory, identity, lock, index, options, openReport });
    } catch (error) {
      if (await answers()) index.close();
      else void io.answered?.().then(() => index.close());
      throw error;
    }
  };
  /** Damage that opening the file did not show, but using it did: made anew, unless its file system does not let us. */
  const reopened = async (damage: Error): Promise<Disk | undefined> => {
    try {
      removeIndexFiles(path);
      return await open(path, [`the index was damaged and is made anew: ${damage.message}`]);
    } catch (error) {
      if (!isIndexFailure(error) && systemCode(error) === undefined) throw error;
      return undefined;
    }
  };
  try {
    try {
      return await open(path, []);
    } catch (error) {
      if (path === ':memory:' || !isIndexFailure(error)) throw error;
      const anew = await reopened(error);
      if (anew !== undefined) return anew;
      // What is on a full file system can be read all the same: the index is made from the logs, and kept in memory.
      return await open(':memory:', [`the index cannot be written and is kept in memory: ${error.message}`]);
    }
  } catch (error) {
    await lock.release();
    throw error;
  }
}

function checkExpected(identity: DiskIdentity, directory: string, expected: ExpectedDisk): void {
  const hint = 'put the right disk in its place, or correct the path';
  if (identity.pool !== expected.pool) {
    throw new CairnError('DISK_FOREIGN', `${directory} is a disk of another pool, ${identity.pool}`, { hint });
  }
  if (expected.uuid !== undefined && identity.uuid !== expected.uuid) {
    throw new CairnError('DISK_FOREIGN', `${directory} is another disk of this pool, number ${identity.number}`, {
      hint,
    });
  }
  if (expected.role !== undefined && identity.role !== expected.role) {
    throw new CairnError('DISK_FOREIGN', `${directory} is a ${identity.role} disk, not a ${expected.role} disk`, {
      hint,
    });
  }
}

async function assemble(parts: {
  io: FileIo;
  directory: string;
  identity: DiskIdentity;
  lock: IoLock;
  index: DiskIndex;
  options: OpenDiskOptions;
  openReport: string[];
}): Promise<Disk> {
  const { io, directory, identity, lock, index, options, openReport } = parts;
  const lockPath = join(directory, LOCK_FILE);
  const report = (line: string): void => {
    // Opening a log and replaying it may meet the same damage.
    if (!openReport.includes(line)) openReport.push(line);
  };
  const numbers = new LogNumbers();
  const { notes } = index;
  numbers.sawSegment(notes?.lastSegment ?? 0);
  numbers.sawSequence(notes?.lastSequence ?? 0);
  const owner = identity.uuid.slice(0, 16);
  let disk: LogDisk | undefined;
  const open = (name: StreamName, segmentBytes: number, verifiedThrough: LogPoint | undefined): Promise<AppendLog> =>
    openLog(
      io,
      { directory: join(directory, 'log'), name, segmentBytes, style: name === 'data' ? 'allocated' : 'zeroed', owner },
      {
        ...(options.crc32c && { crc32c: options.crc32c }),
        numbers,
        verifiedThrough: verifiedThrough?.segment === 0 ? undefined : verifiedThrough,
        unsureFrom: options.unsure?.[name],
        mayGrow: (bytes) => disk?.mayGrow(name, bytes) ?? true,
        report,
        onAppended: (records, places) => disk?.onAppended(records, places),
        onFailure: (cause) => disk?.onFailure(cause),
        onSealed: () => disk?.onSealed(segmentBytes),
        onSynced: () => disk?.onSynced(),
      },
    );
  const journal = await open('journal', identity.journalSegmentBytes, notes?.journal);
  try {
    const data = await open('data', identity.dataSegmentBytes, notes?.data);
    try {
      const journalState = new JournalState();
      const found = await replayLogs(data, journal, index, journalState, numbers);
      const tombstones = [...index.owed, ...found].filter(
        ({ targetSegment }) => data.has(targetSegment) || journal.has(targetSegment),
      );
      await dropLostEntries(data, journal, index, report);
      if (notes === undefined && data.segments().length + journal.segments().length > 0) {
        report(`the index was rebuilt from the logs: ${index.rebuildReason}`);
      }
      const isDurable = (segment: number, position: number): boolean => {
        const { syncedThrough } = journal.has(segment) ? journal : data;
        return (
          segment < syncedThrough.segment || (segment === syncedThrough.segment && position < syncedThrough.position)
        );
      };
      index.attach({
        isDurable,
        isBehind: () => io.isBehind ?? false,
        ...(io.answers && { answers: () => io.answers!(lockPath) }),
        owed: () => disk?.owed() ?? tombstones,
        notes: () => ({
          data: data.syncedThrough,
          journal: journal.syncedThrough,
          lastSegment: numbers.lastSegment,
          lastSequence: numbers.lastSequence,
        }),
      });
      index.flush();
      const { freeBytes: deviceFreeBytes } = await io.space(directory);
      disk = new LogDisk({
        io,
        directory,
        identity,
        owner,
        lock,
        data,
        journal,
        index,
        journalState,
        openReport,
        isDurable,
        deviceFreeBytes,
        burials: tombstones,
      });
      await disk.bury();
      return disk;
    } catch (error) {
      await data.close();
      throw error;
    }
  } catch (error) {
    await journal.close();
    throw error;
  }
}
