/** Figures as people read and write them: the one place that turns bytes, times and counts into text, and sizes back. */
import { formatBytes } from '../errors/byte-figures.js';
import { CairnError } from '../errors/cairn-error.js';

export { formatBytes };

const POWERS = 'KMGTP';

/**
 * `64GiB`, `64G`, `4M`, `512k`: powers of 1024; `500GB`: powers of 1000, as disks are sold; `4096`, `4096B`: bytes.
 * Returns bytes. INVALID if it is none of these, not a whole number of bytes, or beyond 2^53.
 */
export function parseSize(text: string): number {
  const [, figure, letter = '', rest = ''] = /^(\d+(?:\.\d+)?)\s*([kmgtp]?)(i?b?)$/i.exec(text.trim()) ?? [];
  const wrong = (why: string) =>
    new CairnError('INVALID', `"${text}" is not a size: ${why}`, { hint: 'write it like 64GiB, 4M, 512k or 4096' });
  if (figure === undefined) throw wrong('it is not a number with a unit');
  if (letter === '' && rest.toLowerCase().startsWith('i')) throw wrong('its unit is unknown');
  const power = letter === '' ? 0 : POWERS.indexOf(letter.toUpperCase()) + 1;
  const bytes = Number(figure) * (rest.toLowerCase() === 'b' && letter !== '' ? 1000 : 1024) ** power;
  if (!Number.isInteger(bytes)) throw wrong('it is not a whole number of bytes');
  if (!Number.isSafeInteger(bytes)) throw wrong('it is too large');
  return bytes;
}

export function formatRate(bytesPerSecond: number): string {
  return `${formatBytes(Math.round(bytesPerSecond))}/s`;
}

/** `8 s`, `3 min 20 s`, `2 h 5 min`, `4 days`. */
export function formatDuration(ms: number): string {
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return pair(Math.floor(seconds / 60), 'min', seconds % 60, 's');
  const minutes = Math.round(seconds / 60);
  if (minutes < 48 * 60) return pair(Math.floor(minutes / 60), 'h', minutes % 60, 'min');
  return `${Math.round(minutes / 1440)} days`;
}

/** `20,000`. */
export function formatCount(count: number): string {
  return count.toLocaleString('en-US');
}

/** `1 file`, `3 files`. */
export function counted(count: number, noun: string): string {
  return `${formatCount(count)} ${noun}${count === 1 ? '' : 's'}`;
}

function pair(large: number, largeUnit: string, small: number, smallUnit: string): string {
  return small === 0 ? `${large} ${largeUnit}` : `${large} ${largeUnit} ${small} ${smallUnit}`;
}
