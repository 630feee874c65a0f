/** Errors as a person sees them: one line with what to do next. CAIRN_DEBUG=1 adds where it came from. */
import { CairnError, messageOf } from '../errors/cairn-error.js';
import type { CliContext } from './context.js';

export function showError(context: Pick<CliContext, 'stderr' | 'env'>, error: unknown): void {
  context.stderr.write(`cairn: ${errorLine(error)}\n`);
  if (context.env['CAIRN_DEBUG'] === '1' && error instanceof Error) context.stderr.write(`${traceOf(error)}\n`);
}

/** What to do next where nobody who knows more has said it. */
const HINTS: Readonly<Partial<Record<string, string>>> = {
  ACCESS: 'run it as the user who made the pool',
};

/** Message and hint on one line. */
export function errorLine(error: unknown): string {
  const message = messageOf(error);
  const [line = ''] = message.split('\n');
  if (!(error instanceof CairnError)) return line;
  const hint = error.hint ?? HINTS[error.code];
  return hint === undefined ? line : `${line}; ${hint}`;
}

function traceOf(error: Error): string {
  const own = error.stack ?? error.message;
  return error.cause instanceof Error ? `${own}\ncaused by ${traceOf(error.cause)}` : own;
}
