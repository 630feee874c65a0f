/**
 * How text looks where a person reads it on a terminal: colours, faint labels, bars. Everywhere else (a pipe, a file, NO_COLOR of no-color.org)
 * the same words come without. Colour never says what the words do not.
 */
import type { Output } from './output.js';

const ESCAPE = '\u001b[';
const BAR_MARKS = ['█', '░'] as const;
const PLAIN_BAR_MARKS = ['#', '.'] as const;

export class Style {
  /** A terminal: bars are drawn, whatever becomes of the colour. */
  readonly isTerminal: boolean;
  readonly #hasColour: boolean;
  readonly #marks: readonly [string, string];

  constructor(output: Pick<Output, 'isTTY' | 'hasColour' | 'isUtf8'>) {
    this.isTerminal = output.isTTY;
    this.#hasColour = output.hasColour;
    this.#marks = output.isUtf8 ? BAR_MARKS : PLAIN_BAR_MARKS;
  }

  readonly good = (text: string): string => this.#paint('32', text);
  readonly warning = (text: string): string => this.#paint('33', text);
  readonly bad = (text: string): string => this.#paint('31', text);
  readonly strong = (text: string): string => this.#paint('1', text);
  readonly faint = (text: string): string => this.#paint('2', text);

  /** `share` from 0 to 1, in `width` columns. Something is never drawn as nothing, nor nearly all as all. */
  bar(share: number, width: number): string {
    const exact = Math.min(1, Math.max(0, share)) * width;
    const filled = exact > 0 && exact < 1 ? 1 : Math.floor(exact);
    return this.#marks[0].repeat(filled) + this.#marks[1].repeat(width - filled);
  }

  #paint(code: string, text: string): string {
    return this.#hasColour && text !== '' ? `${ESCAPE}${code}m${text}${ESCAPE}0m` : text;
  }
}

/** `7 %`, `100 %`: four columns wide, rounded down so that 100 means all. */
export function percent(share: number): string {
  return `${String(Math.floor(Math.min(1, Math.max(0, share)) * 100)).padStart(3)} %`;
}
