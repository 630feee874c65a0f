/** Errors as a person sees them: one line with what to do next. CAIRN_DEBUG=1 adds where it came from. */
import { CairnError, messageOf, systemCode } from '../errors/cairn-error.js';
import type { CliContext } from './context.js';

export function showError(context: Pick<CliContext, 'stderr' | 'env'>, error: unknown): void {
  context.stderr.write(`cairn: ${errorLine(error)}\n`);
  if (context.env['CAIRN_DEBUG'] === '1' && error instanceof Error) context.stderr.write(`${traceOf(error)}\n`);
}

/** What to do next where nobody who knows more has said it. */
const HINTS: Readonly<Partial<Record<string, string>>> = {
  ACCESS: 'run it as the user who made the pool',
};

/** The same of what the system refuses while nobody has a word for it, as where parts of the program are loaded. */
const SYSTEM_HINTS: Readonly<Partial<Record<string, string>>> = {
  EMFILE: 'raise the number of files that a process may have open (`ulimit -n`, LimitNOFILE=) to 65536 or more',
  ENFILE: 'raise fs.file-max (sysctl), or end what has so many files open',
};

/** Message and hint on one line. */
export function errorLine(error: unknown): string {
  const message = messageOf(error);
  const [line = ''] = message.split('\n');
  const hint = error instanceof CairnError ? (error.hint ?? HINTS[error.code]) : SYSTEM_HINTS[systemCode(error) ?? ''];
  return hint === undefined ? line : `${line}; ${hint}`;
}

function traceOf(error: Error): string {
  const own = error.stack ?? error.message;
  return error.cause instanceof Error ? `${own}\ncaused by ${traceOf(error.cause)}` : own;
}
