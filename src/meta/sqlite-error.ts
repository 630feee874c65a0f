/** Turns what better-sqlite3 throws into the project's errors: the one place that knows SQLite's result codes. */
import Database from 'better-sqlite3';
import { CairnError } from '../errors/cairn-error.js';

/** Only a copy of what the disks know is in it. */
const LOST =
  'see that its device works and has room, and that its directory may be written; if it is lost, make the directory anew, or name another one below [meta] in cairn.toml: all of it is made from the disks';

/** `error` as a CairnError if SQLite threw it, else unchanged: a programmer's error stays one. */
export function fromSqlite(error: unknown, path: string): unknown {
  if (!(error instanceof Database.SqliteError)) return error;
  const cause = { cause: error };
  // Extended codes begin with the primary one: SQLITE_IOERR_READ, SQLITE_CORRUPT_INDEX, …
  const [, primary = ''] = error.code.split('_');
  switch (primary) {
    case 'CORRUPT':
    case 'NOTADB':
    case 'FORMAT':
    // The tables' checks hold what the code keeps true, so a row that breaks one contradicts an older row.
    case 'CONSTRAINT':
      return corrupt(path, error.message, error);
    case 'FULL':
      return new CairnError('NO_SPACE', `no space left for the metadata store ${path}`, {
        ...cause,
        hint: 'free some space on that file system',
      });
    case 'READONLY':
      return new CairnError('READ_ONLY', `the metadata store ${path} cannot be written`, cause);
    case 'BUSY':
    case 'LOCKED':
      return new CairnError('BUSY', `another program uses the metadata store ${path}`, {
        ...cause,
        hint: 'close whatever else has it open',
      });
    case 'CANTOPEN':
    case 'PERM':
    case 'AUTH':
      return new CairnError('ACCESS', `the metadata store ${path} cannot be opened`, { ...cause, hint: LOST });
    default:
      return new CairnError('IO', `the metadata store ${path} failed: ${error.message}`, { ...cause, hint: LOST });
  }
}

/** The file contradicts itself: pages that are none, or rows that cannot be. Not what a commit or a full disk can bring about. */
export function isDamage(error: unknown): boolean {
  return error instanceof Database.SqliteError && /^SQLITE_(CORRUPT|NOTADB|FORMAT|CONSTRAINT)/.test(error.code);
}

/** The store cannot be used; what it held is in the journal. */
export function corrupt(path: string, why: string, cause?: unknown): CairnError {
  return new CairnError('CORRUPT', `the metadata store ${path} cannot be used: ${why}`, {
    hint: 'mount the pool again: it is made anew from the disks; if that does not help, remove its files',
    ...(cause === undefined ? {} : { cause }),
  });
}
