/**
 * What a service says, in the form that journald takes levels from (sd-daemon(3)): `<3>` in front of an error. Only where stderr is the journal's:
 * JOURNAL_STREAM names its device and inode.
 */
import { fstatSync, writeSync } from 'node:fs';
import type { CliContext } from './context.js';
import type { Output } from './output.js';

const STDERR = 2;
const ERROR = 3;
const NOTICE = 6;
/** pino's levels, from the most urgent, with those of syslog(3). */
const PRIORITIES = [
  [60, 2],
  [50, ERROR],
  [40, 4],
  [30, NOTICE],
  [0, 7],
] as const;
/** In every line of the log, and known to the journal by itself. */
const OWN_FIELDS: ReadonlySet<string> = new Set(['level', 'time', 'pid', 'msg', 'err', 'error']);

export function isJournal(env: CliContext['env'], fd: number = STDERR): boolean {
  const named = env['JOURNAL_STREAM'];
  if (named === undefined) return false;
  try {
    const { dev, ino } = fstatSync(fd, { bigint: true });
    return named === `${dev}:${ino}`;
  } catch {
    return false;
  }
}

/** A line of the daemon's log (JSON) as a line for the journal. */
export function journalLine(json: string): string {
  const entry = JSON.parse(json) as Record<string, unknown>;
  const level = Number(entry['level']);
  const [, priority] = PRIORITIES.find(([from]) => level >= from) ?? [0, NOTICE];
  const error = (entry['err'] ?? entry['error']) as { readonly message?: unknown } | undefined;
  const fields = Object.entries(entry).flatMap(([name, value]) =>
    OWN_FIELDS.has(name) ? [] : [`${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`],
  );
  const message = typeof error?.message === 'string' ? `${entry['msg']}: ${error.message}` : String(entry['msg']);
  return `<${priority}>${[message, ...fields].join(' ').replaceAll('\n', ' ')}\n`;
}

/** To the journal, at once: a daemon's last words are to be there. It has the log file as well, so a journal that does not take them costs nothing. */
export function writeJournal(text: string): void {
  try {
    writeSync(STDERR, text);
  } catch {
    // EAGAIN, or a journal that is being restarted.
  }
}

/** stderr of a command under journald. */
export class JournalOutput implements Output {
  readonly isTTY = false;
  readonly hasColour = false;
  readonly isUtf8 = true;
  readonly columns = 80;
  readonly rows = 24;

  write(text: string): void {
    for (const line of text.split('\n'))
      if (line !== '') writeJournal(`<${line.startsWith('cairn: ') ? ERROR : NOTICE}>${line}\n`);
  }
}
