/**
 * `cairn status` as a page for people. Health comes first, then what to do about it, then the figures; colours and bars are only where a terminal is,
 * and say nothing that the words do not.
 */
import type { LossForecast, PoolStatus } from '../vfs/reports.js';
import { jobText } from './job-text.js';
import { percent, type Style } from './style.js';
import { textTable } from './text-table.js';
import { counted, formatBytes, formatCount } from './units.js';

/** What `status --json` prints where no daemon runs; with one, a PoolStatus and `running: true`. */
export interface RestingStatus {
  readonly format: 1;
  readonly running: false;
  readonly pool: string;
  readonly directory: string;
  readonly scheme: string;
  readonly bucketBytes: number;
  /** Where a daemon that was killed has left its mount: programs get errors there. */
  readonly deadMount: string | null;
  readonly disks: readonly {
    readonly number: number;
    readonly uuid: string;
    readonly role: 'data' | 'journal' | 'cache';
    readonly directory: string;
    /** Whether the directory is there: more is known only when the pool is mounted. */
    readonly state: 'present' | 'missing';
  }[];
}

const LABEL_COLUMNS = 11;
const BAR_COLUMNS = 24;
const DISK_BAR_COLUMNS = 10;
/** A narrower terminal has no bar in the table of disks. */
const DISK_BAR_FROM_COLUMNS = 100;
/** Below this share of free room the page says so. */
const NEARLY_FULL = 0.1;

export function restingText(status: RestingStatus, style: Style): string {
  const rows = status.disks.map((disk) => [numberText(disk.number), disk.role, disk.state, disk.directory]);
  const label = labels(style);
  const table = textTable([['disk', 'role', 'state', 'directory'], ...rows], new Set([0]), (text, row, column) => {
    if (row === 0) return style.faint(text);
    return column === 2 ? (text.trim() === 'present' ? style.good(text) : style.bad(text)) : text;
  });
  return `${style.strong(`pool ${status.directory}`)}: ${style.warning('not mounted')}, no daemon is running
${status.deadMount === null ? '' : `  ${style.bad(`! its daemon was killed, and programs get errors at ${status.deadMount}`)}\n  -> cairn mount ${status.directory} ${status.deadMount} mends that; what was staged is safe in the cache\n`}${label('id')}${status.pool}
${label('scheme')}${status.scheme}, buckets of ${formatBytes(status.bucketBytes)}

${table}
its health is known when it is mounted: cairn mount ${status.directory} ${status.deadMount ?? 'MOUNTPOINT'}
`;
}

/** `columns`: how wide the terminal is. */
export function statusText(status: PoolStatus, style: Style, columns: number): string {
  const health = { healthy: style.good, degraded: style.warning, failed: style.bad }[status.health];
  const label = labels(style);
  const how = status.readOnly ? 'mounted read-only' : 'mounted';
  const where = status.mountpoint === null ? 'not mounted' : `${how} at ${status.mountpoint}`;
  const passthrough = status.passthrough ? ', large files are read by the kernel itself (passthrough)' : '';
  const writeback = status.writeback ? ', the kernel keeps writes for about a second (writeback)' : '';
  const staged =
    status.dirtyBytes === 0 && status.dirtyFiles === 0
      ? 'nothing, all is committed'
      : `${formatBytes(status.dirtyBytes)} in ${counted(status.dirtyFiles, 'file')}, not committed yet`;
  const lines = [
    `${style.strong(`pool ${status.directory}`)}: ${style.strong(health(status.health))}`,
    ...status.findings.map((finding) => `  ${health(`! ${finding}`)}`),
    ...adviceOf(status).map((advice) => `  -> ${advice}`),
    `  ${where}, ${status.mode} mode${passthrough}${writeback}, daemon pid ${status.pid}`,
    `${label('protection')}${status.protection}`,
    `${label('room')}${bar(style, status.usedBytes, status.usableBytes)}${formatBytes(status.usedBytes)} used, ${formatBytes(status.freeBytes)} free of ${formatBytes(status.usableBytes)}; ${formatCount(status.files)} files and directories`,
    `${label('cache')}${bar(style, status.cacheBytes, status.cacheCapacityBytes)}${formatBytes(status.cacheBytes)} of ${formatBytes(status.cacheCapacityBytes)}`,
    `${label('staged')}${staged}`,
    ...degradedLines(status, label),
    `${label('if lost')}${lossText(status.forecast)}`,
    `${label('commits')}sequence ${status.commitSequence}, epoch ${status.epoch}, map version ${status.mapVersion}`,
    ...status.jobs.map((job) => `${label('job')}${bar(style, job.doneBytes, job.totalBytes)}${jobText(job)}`),
  ];
  return `${lines.join('\n')}\n\n${diskTable(status, style, columns)}\n${groupTable(status, style)}`;
}

/** Names of lines, faint, as wide as the longest. */
function labels(style: Style): (name: string) => string {
  return (name) => `  ${style.faint(name.padEnd(LABEL_COLUMNS))} `;
}

/** On a terminal only; nothing where there is no whole to be a part of. */
function bar(style: Style, part: number, whole: number): string {
  if (!style.isTerminal || whole <= 0) return '';
  const share = part / whole;
  return `${paintFill(style, share)(style.bar(share, BAR_COLUMNS))} ${percent(share)}  `;
}

function paintFill(style: Style, share: number): (text: string) => string {
  return share > 1 - NEARLY_FULL ? style.bad : share > 0.75 ? style.warning : style.good;
}

/** What to type next, where something is to be done. */
function adviceOf(status: PoolStatus): string[] {
  const { directory, disks, freeBytes, usableBytes } = status;
  const advice = disks
    .filter(({ role, state }) => role === 'data' && state !== 'online')
    .map(
      ({ number }) =>
        `put disk ${number} back (which one it is: cairn disk locate ${directory} ${number}), or replace it: cairn disk replace ${directory} ${number} NEW-DIRECTORY`,
    );
  if (usableBytes > 0 && freeBytes < usableBytes * NEARLY_FULL)
    advice.push(
      `nearly full, ${formatBytes(freeBytes)} left: remove files, or add a disk: cairn disk add ${directory} NEW-DIRECTORY`,
    );
  return advice;
}

function diskTable(status: PoolStatus, style: Style, columns: number): string {
  const hasBars = style.isTerminal && columns >= DISK_BAR_FROM_COLUMNS;
  const shares = status.disks.map(({ liveBytes, capacityBytes }) =>
    capacityBytes > 0 ? liveBytes / capacityBytes : 0,
  );
  const rows = status.disks.map((disk, index) => [
    numberText(disk.number),
    disk.role,
    disk.state,
    formatBytes(disk.liveBytes),
    formatBytes(disk.freeBytes),
    formatBytes(disk.capacityBytes),
    ...(hasBars ? [style.bar(shares[index]!, DISK_BAR_COLUMNS)] : []),
    disk.reason === '' ? disk.directory : `${disk.directory} (${disk.reason})`,
  ]);
  const head = ['disk', 'role', 'state', 'used', 'free', 'size', ...(hasBars ? ['fill'] : []), 'directory'];
  return textTable([head, ...rows], new Set([0, 3, 4, 5]), (text, row, column) => {
    if (row === 0) return style.faint(text);
    if (column === 2) return text.trim() === 'online' ? style.good(text) : style.bad(text);
    return hasBars && column === 6 ? paintFill(style, shares[row - 1]!)(text) : text;
  });
}

function groupTable(status: PoolStatus, style: Style): string {
  const rows = status.groups.map((group) => [group.scheme, formatCount(group.count), formatCount(group.degraded)]);
  return textTable([['scheme', 'groups', 'degraded'], ...rows], new Set([1, 2]), (text, row, column) => {
    if (row === 0) return style.faint(text);
    return column === 2 && text.trim() !== '0' ? style.warning(text) : text;
  });
}

/** What hangs on single devices, in one line; `cairn forecast` says more. */
function lossText({ counted: share, disks, unreadable }: LossForecast): string {
  const parts = disks
    .filter(({ bytes, state }) => bytes > 0 && state !== 'missing')
    .map(({ role, number, bytes }) =>
      role === 'cache'
        ? `with the cache: ${formatBytes(bytes)} that is not committed yet`
        : `with disk ${number}: ${formatBytes(bytes)}`,
    );
  if (unreadable.chunks > 0) parts.push(`${formatBytes(unreadable.bytes)} cannot be read already`);
  const counted = Math.floor(share * 100);
  // What is not counted yet may be lost: nothing is said of it.
  if (parts.length === 0) return share < 1 ? `counting, ${counted} % so far` : 'nothing is lost with any one device';
  return `${parts.join(', ')}${share < 1 ? `; still counting, ${counted} % so far` : ''}`;
}

/** Nothing where all is whole. */
function degradedLines({ degradedWrites, whenDegraded }: PoolStatus, label: (name: string) => string): string[] {
  const { chunks, bytes } = degradedWrites;
  if (chunks === 0) return [];
  const rule = whenDegraded === 'allow' ? 'strong fsync succeeds' : 'strong fsync fails';
  return [
    `${label('degraded')}${formatBytes(bytes)} in ${counted(chunks, 'chunk')} written while a disk failed or was away, not all whole yet; ${rule} while one is`,
  ];
}

/** Cache and journal disks have no number in the diskmap. */
function numberText(number: number): string {
  return number === 0 ? '-' : String(number);
}
