/** A page that is shown again and again in the same place of a terminal, until Ctrl-C; elsewhere one after the other. */
import type { CliContext } from './context.js';

const CLEAR = '\u001b[2J';
const HOME = '\u001b[H';
const CLEAR_LINE_REST = '\u001b[K';
const CLEAR_BELOW = '\u001b[J';
const NO_WRAP = '\u001b[?7l';
const WRAP = '\u001b[?7h';
const HIDE_CURSOR = '\u001b[?25l';
const SHOW_CURSOR = '\u001b[?25h';

type Context = Pick<CliContext, 'stdout' | 'signals'>;

/** `isLines`: programs read it: nothing stands between the pages. Resolves at the signal; rejects when `page` does. */
export async function watchPage(
  { stdout, signals }: Context,
  everyMs: number,
  isLines: boolean,
  page: () => Promise<string>,
): Promise<void> {
  let stop = (): void => {};
  const stopped = new Promise<'stopped'>((resolve) => {
    stop = () => resolve('stopped');
  });
  signals.on('SIGINT', stop).on('SIGTERM', stop);
  const inPlace = stdout.isTTY && !isLines;
  if (inPlace) stdout.write(CLEAR + NO_WRAP + HIDE_CURSOR);
  try {
    for (;;) {
      const text = await Promise.race([page(), stopped]);
      if (text === 'stopped') return;
      stdout.write(inPlace ? placed(text, stdout.rows) : isLines ? text : `${text}\n`);
      let timer: NodeJS.Timeout | undefined;
      const pause = new Promise<'again'>((resolve) => {
        timer = setTimeout(() => resolve('again'), everyMs);
      });
      const next = await Promise.race([pause, stopped]);
      clearTimeout(timer);
      if (next === 'stopped') return;
    }
  } finally {
    if (inPlace) stdout.write(WRAP + SHOW_CURSOR);
    signals.off('SIGINT', stop).off('SIGTERM', stop);
  }
}

/** What does not fit would scroll the first lines away: it is cut. */
function placed(text: string, rows: number): string {
  const lines = text.trimEnd().split('\n');
  const shown = lines.length < rows ? lines : [...lines.slice(0, rows - 2), `… ${lines.length - rows + 2} more lines`];
  return `${HOME}${shown.map((line) => `${line}${CLEAR_LINE_REST}\n`).join('')}${CLEAR_BELOW}`;
}
