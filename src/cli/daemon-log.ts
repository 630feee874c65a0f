/**
 * The daemon's log, `<pool>/daemon.log`: one JSON line per event, written at once, so that a killed daemon's last words are
 * there. At 10 MiB it is set aside as `daemon.log.1`, in place of the one before, so that a daemon that complains for months fills no disk. CAIRN_LOG sets
 * the level (default `info`).
 *
 * The daemon outlives a log that cannot be written, as where the system disk is full: the next MiB of lines waits in memory, and is written when there is room.
 */
import { renameSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { CairnError, systemCode } from '../errors/cairn-error.js';
import type { CliContext } from './context.js';
import { isJournal, journalLine, writeJournal } from './journal-output.js';

const LOG_NAME = 'daemon.log';
const ROTATE_BYTES = 10 * 1024 * 1024;
/** Of lines that could not be written; what comes beyond is dropped. */
const WAITING_BYTES = 1024 * 1024;
const LEVELS = ['debug', 'info', 'warn', 'error'];

export function daemonLogPath(poolDirectory: string): string {
  return join(poolDirectory, LOG_NAME);
}

/** Under journald each line also goes there, with its level. ACCESS, READ_ONLY or IO if the pool directory takes no file; INVALID for an unknown level. */
export async function openDaemonLog(poolDirectory: string, env: CliContext['env']): Promise<Logger> {
  const level = env['CAIRN_LOG'];
  if (level !== undefined && !LEVELS.includes(level)) {
    throw new CairnError('INVALID', `CAIRN_LOG is "${level}"`, { hint: `it is one of: ${LEVELS.join(', ')}` });
  }
  const path = daemonLogPath(poolDirectory);
  const { pino } = await import('pino');
  try {
    if (sizeOf(path) > ROTATE_BYTES) setAside(path);
    const file = pino.destination({ dest: path, sync: true, maxLength: WAITING_BYTES, mode: 0o600 });
    // There is nowhere to say so: standard error is this file, too.
    file.on('error', () => undefined);
    const toJournal = isJournal(env);
    let bytes = sizeOf(path);
    const write = (line: string): void => {
      file.write(line);
      bytes += line.length;
      if (bytes > ROTATE_BYTES) {
        bytes = 0;
        try {
          setAside(path);
          file.reopen();
        } catch {
          // It goes on in the file that it has.
        }
      }
      if (toJournal) writeJournal(journalLine(line));
    };
    return pino({ base: { pid: process.pid }, level: level ?? 'info' }, { write });
  } catch (cause) {
    throw new CairnError(systemCode(cause) === 'EROFS' ? 'READ_ONLY' : 'ACCESS', `cannot write the log ${path}`, {
      hint: 'the pool directory must be writable by the user who mounts it',
      cause,
    });
  }
}

/** 0 if it is not there. */
function sizeOf(path: string): number {
  try {
    return statSync(path).size;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return 0;
    throw error;
  }
}

function setAside(path: string): void {
  renameSync(path, `${path}.1`);
}
