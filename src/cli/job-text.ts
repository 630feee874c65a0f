/** Work in the background, in one line. */
import type { JobReport } from '../vfs/reports.js';
import { formatBytes, formatDuration, formatRate } from './units.js';

/** `scrub: running, 1.5 GiB of 4 TiB, 120 MiB/s, 9 h left: disk 2`. */
export function jobText(job: JobReport): string {
  const { name, state, line, doneBytes, totalBytes, bytesPerSecond, leftMs, endedMs } = job;
  const parts: string[] = [state];
  if (doneBytes > 0 || totalBytes > 0)
    parts.push(totalBytes > 0 ? `${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}` : formatBytes(doneBytes));
  if (bytesPerSecond > 0) parts.push(formatRate(bytesPerSecond));
  if (leftMs !== null) parts.push(`${formatDuration(leftMs)} left`);
  if (job.fullSpeed && (state === 'running' || state === 'waiting')) parts.push('at full speed');
  if (endedMs !== null) parts.push(`ended ${new Date(endedMs).toISOString().slice(0, 16).replace('T', ' ')} UTC`);
  return `${name}: ${parts.join(', ')}${line === '' || line === state ? '' : `: ${line}`}`;
}
