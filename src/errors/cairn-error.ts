/**
 * The one error family of Cairn. Every operating error carries a literal `code`; callers match the code, never the
 * text. `src/fuse/errno.ts` is the only place that turns codes into errno values.
 *
 * The message is one line that a user may read: what happened, to what, and (in `hint`) what to do next.
 */
export type ErrorCode =
  // what POSIX knows
  | 'NOT_FOUND'
  | 'EXISTS'
  | 'NOT_DIRECTORY'
  | 'IS_DIRECTORY'
  | 'NOT_EMPTY'
  | 'INVALID'
  | 'NO_SPACE'
  | 'IO'
  | 'READ_ONLY'
  | 'NOT_PERMITTED'
  | 'ACCESS'
  | 'NAME_TOO_LONG'
  | 'NO_DATA'
  | 'RANGE'
  | 'TOO_BIG'
  | 'NOT_SUPPORTED'
  | 'BUSY'
  | 'STALE'
  | 'BAD_HANDLE'
  | 'TOO_MANY_LINKS'
  | 'NO_EXTENT'
  | 'CROSS_DEVICE'
  // what only Cairn knows
  | 'CORRUPT'
  | 'UNREADABLE'
  | 'DISK_FAILED'
  | 'DISK_FOREIGN'
  | 'DISK_MISSING'
  | 'LOCKED'
  | 'CONFIG'
  | 'CONFLICT'
  | 'CLOSED'
  | 'ABORTED'
  | 'MISSING_TOOL';

export interface ErrorDetails {
  /** What the user should type or do next, as a sentence without a full stop. */
  readonly hint?: string;
  readonly cause?: unknown;
}

export class CairnError extends Error {
  override readonly name = 'CairnError';
  readonly code: ErrorCode;
  readonly hint: string | undefined;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.hint = details.hint;
  }
}

/** True if `error` is a CairnError with one of these codes. */
export function hasCode(error: unknown, ...codes: ErrorCode[]): error is CairnError {
  return error instanceof CairnError && codes.includes(error.code);
}

/** The errno name (`ENOSPC`, …) of an error that node or the addon threw, if it has one. */
export function systemCode(error: unknown): string | undefined {
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return error.code;
  return undefined;
}

/** A programmer's error: the process state cannot be trusted further. Kept in production. */
export function assert(condition: unknown, what: string): asserts condition {
  if (!condition) throw new Error(`assertion failed: ${what}`);
}

/** What was thrown, which can be anything, as an Error. */
export function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}

/** What was thrown, which can be anything, in words. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
