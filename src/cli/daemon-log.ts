/**
 * The daemon's log, `<pool>/daemon.log`: one JSON line per event, written at once, so that a killed daemon's last words are
 * there. A log over 10 MiB is set aside as `daemon.log.1` at the next start. CAIRN_LOG sets the level (default `info`).
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
    rotate(path);
    const file = pino.destination({ dest: path, sync: true, maxLength: WAITING_BYTES });
    // There is nowhere to say so: standard error is this file, too.
    file.on('error', () => undefined);
    const both = {
      write: (line: string) => {
        file.write(line);
        writeJournal(journalLine(line));
      },
    };
    return pino({ base: { pid: process.pid }, level: level ?? 'info' }, isJournal(env) ? both : file);
  } catch (cause) {
    throw new CairnError(systemCode(cause) === 'EROFS' ? 'READ_ONLY' : 'ACCESS', `cannot write the log ${path}`, {
      hint: 'the pool directory must be writable by the user who mounts it',
      cause,
    });
  }
}

function rotate(path: string): void {
  try {
    if (statSync(path).size > ROTATE_BYTES) renameSync(path, `${path}.1`);
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
  }
}
