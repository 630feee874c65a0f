/** Figures as people read and write them: the one place that turns bytes, times and counts into text, and sizes back. */
import { CairnError } from '../errors/cairn-error.js';

const BINARY = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;
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

/** `0 B`, `512 B`, `1.5 KiB`, `64 GiB`: three figures at most before the unit. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  // 1023.6 KiB would print as 1024 KiB.
  while (value >= 1023.5 && unit < BINARY.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${threeFigures(value)} ${BINARY[unit]}`;
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

function threeFigures(value: number): string {
  if (Number.isInteger(value) || value >= 100) return String(Math.round(value));
  return String(Number(value.toFixed(value >= 10 ? 1 : 2)));
}

function pair(large: number, largeUnit: string, small: number, smallUnit: string): string {
  return small === 0 ? `${large} ${largeUnit}` : `${large} ${largeUnit} ${small} ${smallUnit}`;
}
