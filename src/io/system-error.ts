/**
 * What an error of the operating system means to Cairn: the one table from the errors of files to CairnError codes. The system's error
 * stays as the cause.
 */
import { CairnError, type ErrorCode, messageOf, systemCode } from '../errors/cairn-error.js';

const meanings: Readonly<Record<string, readonly [ErrorCode, string]>> = {
  ENOENT: ['NOT_FOUND', 'there is no such file or directory'],
  EEXIST: ['EXISTS', 'it exists already'],
  ENOSPC: ['NO_SPACE', 'no space is left on its file system'],
  EDQUOT: ['NO_SPACE', 'the disk quota is used up'],
  EFBIG: ['TOO_BIG', 'its file system does not have so large files'],
  EROFS: ['READ_ONLY', 'its file system is read-only'],
  EACCES: ['ACCESS', 'permission denied'],
  EPERM: ['ACCESS', 'operation not permitted'],
  EIO: ['IO', 'the device reports an input/output error'],
};

/** What happened, in words, as the end of a sentence. */
export function systemWords(error: unknown): string {
  const [, words] = meanings[systemCode(error) ?? ''] ?? [];
  return words ?? messageOf(error);
}

const listenMeanings: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another program listens there already',
  EADDRNOTAVAIL: 'this machine has no such address',
  ENOTFOUND: 'no address is known for that name',
  EACCES: 'ports below 1024 are for root',
};

/** Why a server cannot listen, as the end of a sentence. */
export function whyNotListening(error: Error): string {
  return listenMeanings[systemCode(error) ?? ''] ?? error.message;
}

/** Node has no name for EDQUOT and gives only its number. */
const EDQUOT = -122;

/** A CairnError that says what was being done (`open`, `write to`, …), to which path, and what happened. */
export function toCairnError(error: unknown, action: string, path: string): CairnError {
  if (error instanceof CairnError) return error;
  const quota = error instanceof Error && 'errno' in error && error.errno === EDQUOT;
  const [code, what] = meanings[quota ? 'EDQUOT' : (systemCode(error) ?? '')] ?? ['IO' as const, messageOf(error)];
  return new CairnError(code, `cannot ${action} ${path}: ${what}`, { cause: error });
}
