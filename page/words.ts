/** Figures as people read them. */
import { formatBytes } from '../src/errors/byte-figures.js';

export { formatBytes };

export function rate(bytesPerSecond: number): string {
  return `${formatBytes(bytesPerSecond)}/s`;
}

export function milliseconds(ms: number | null): string {
  if (ms === null) return 'no requests';
  if (ms < 1) return `${Math.max(1, Math.round(ms * 1000))} µs`;
  return ms < 1000 ? `${Number(ms.toPrecision(2))} ms` : `${Number((ms / 1000).toPrecision(2))} s`;
}

export function duration(ms: number): string {
  const minutes = Math.round(ms / 60_000);
  if (ms < 90_000) return `${Math.max(1, Math.round(ms / 1000))} s`;
  if (minutes < 90) return `${minutes} min`;
  return minutes < 48 * 60 ? `${Math.round(minutes / 6) / 10} h` : `${Math.round(minutes / 144) / 10} days`;
}

export function ago(atMs: number, nowMs = Date.now()): string {
  const ms = Math.max(0, nowMs - atMs);
  if (ms < 10_000) return 'just now';
  return ms < 7 * 86_400_000 ? `${duration(ms)} ago` : new Date(atMs).toLocaleDateString();
}

export function counted(count: number, one: string): string {
  return `${count.toLocaleString('en')} ${one}${count === 1 ? '' : 's'}`;
}

export function percent(part: number, whole: number): number {
  return whole <= 0 ? 0 : Math.min(100, Math.max(0, (100 * part) / whole));
}
