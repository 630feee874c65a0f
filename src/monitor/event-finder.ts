/** What has happened between two statuses of a pool, in plain words. A pure function: the monitor calls it, tests hand it what they like. */
import * as v from 'valibot';
import { formatBytes } from '../errors/byte-figures.js';
import type { DiskReport, JobReport, PoolStatus } from '../vfs/reports.js';
import type { DiskSensor, PoolEvent } from './reports.js';

export type NewEvent = Omit<PoolEvent, 'id' | 'atMs'>;

/** Below the limit by so much it counts as room again: no two messages for a pool that is at the limit. */
const ROOM_AGAIN_PERCENT = 2;
const HOT_CELSIUS = 60;
/** Below it a disk that was hot is not any more: no two messages for one that is at the limit. */
const COOL_CELSIUS = 55;

const FileCount = v.looseObject({ names: v.array(v.unknown()), more: v.number() });
/** Of a scrub's report (src/repair/scrub-report.ts), what tells that something was found. */
const ScrubFound = v.looseObject({
  lost: FileCount,
  degraded: FileCount,
  damagedShards: v.number(),
  notes: v.array(v.unknown()),
});

const JOB_NAMES: Readonly<Record<string, string>> = {
  scrub: 'The scrub',
  repair: 'The repair',
  rebalance: 'The moving of data between disks',
};

function nameOf({ role, number, directory }: Pick<DiskReport, 'role' | 'number' | 'directory'>): string {
  return role === 'data' ? `Disk ${number} (${directory})` : `The ${role} disk (${directory})`;
}

/** `before`: undefined at the start. `fullPercent`: of the room in use, from which on the pool counts as nearly full; `fullPercentBefore`: what that was then. */
export function eventsBetween(
  before: PoolStatus | undefined,
  after: PoolStatus,
  fullPercent: number,
  fullPercentBefore = fullPercent,
): NewEvent[] {
  if (before === undefined)
    return [...started(after), ...healthChanged('healthy', after), ...room(undefined, after, fullPercent, fullPercent)];
  const gone = after.disks.some(
    ({ uuid, state }) => state !== 'online' && before.disks.some((was) => was.uuid === uuid && was.state === 'online'),
  );
  return [
    ...disksChanged(before, after),
    // That a disk has gone says already that the pool is degraded.
    ...(gone && after.health === 'degraded' ? [] : healthChanged(before.health, after)),
    ...findingsChanged(before, after),
    ...room(before, after, fullPercent, fullPercentBefore),
    ...after.jobs.flatMap((job) => {
      const was = before.jobs.find(({ name }) => name === job.name);
      return [...jobChanged(was, job, after.directory)];
    }),
  ];
}

function started({ protection, health }: PoolStatus): NewEvent[] {
  return [
    { kind: 'started', severity: 'note', message: `The pool was opened; it is ${health}. ${protection}`, advice: '' },
  ];
}

function* disksChanged(before: PoolStatus, after: PoolStatus): Generator<NewEvent> {
  for (const disk of after.disks) {
    const was = before.disks.find(({ uuid }) => uuid === disk.uuid);
    const name = nameOf(disk);
    if (was === undefined)
      yield { kind: 'disk-joined', severity: 'good', message: `${name} joined the pool.`, advice: '' };
    else if (was.state === 'online' && disk.state !== 'online')
      yield {
        kind: 'disk-gone',
        severity: after.health === 'failed' ? 'alarm' : 'warning',
        message: `${name} is ${disk.state}: ${disk.reason}. ${
          after.health === 'failed'
            ? 'Too many disks are missing: a part of the data cannot be read until they are back.'
            : 'Nothing is lost: everything stays readable from the other disks.'
        }`,
        advice: `Check its cable and power. If it does not come back, replace it: cairn disk replace ${after.directory} ${disk.number || disk.directory} NEW-DIRECTORY`,
      };
    else if (was.state !== 'online' && disk.state === 'online')
      yield { kind: 'disk-back', severity: 'good', message: `${name} is back and in use again.`, advice: '' };
  }
  for (const disk of before.disks)
    if (!after.disks.some(({ uuid }) => uuid === disk.uuid))
      yield { kind: 'disk-left', severity: 'note', message: `${nameOf(disk)} left the pool.`, advice: '' };
}

function* healthChanged(was: PoolStatus['health'], { health, findings, directory }: PoolStatus): Generator<NewEvent> {
  if (was === health) return;
  if (health === 'healthy') {
    yield {
      kind: 'healed',
      severity: 'good',
      message: 'The pool is healthy again: everything is as safe as promised.',
      advice: '',
    };
    return;
  }
  const why = findings
    .slice(0, 3)
    .map((finding) => ` ${capital(finding)}.`)
    .join('');
  const advice = `See what to do: cairn status ${directory}`;
  yield health === 'failed'
    ? { kind: 'failed', severity: 'alarm', message: `A part of the pool cannot be read.${why}`, advice }
    : {
        kind: 'degraded',
        severity: 'warning',
        message: `The pool is degraded: readable, but less safe than promised.${why}`,
        advice,
      };
}

/** What is not about a disk that is away: that has its own event. */
function* findingsChanged(before: PoolStatus, after: PoolStatus): Generator<NewEvent> {
  const isOfDisk = (text: string) =>
    after.disks.some(({ role, directory }) => text.startsWith(`the ${role} disk at ${directory} is`));
  // Figures in a finding change all the time; that is no new finding.
  const shape = (text: string) => text.replaceAll(/[\d.,]+/g, '#');
  const known = new Set(before.findings.map(shape));
  for (const finding of after.findings)
    if (!isOfDisk(finding) && !known.has(shape(finding)))
      yield {
        kind: 'finding',
        severity: 'warning',
        message: `${capital(finding)}.`,
        advice: '',
      };
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function usedPercent({ usableBytes, freeBytes }: PoolStatus): number {
  return usableBytes === 0 ? 0 : 100 * (1 - freeBytes / usableBytes);
}

function* room(
  before: PoolStatus | undefined,
  after: PoolStatus,
  fullPercent: number,
  fullPercentBefore: number,
): Generator<NewEvent> {
  const was = before === undefined ? 0 : usedPercent(before);
  const is = usedPercent(after);
  const left = `${formatBytes(after.freeBytes)} of ${formatBytes(after.usableBytes)} are free`;
  if (was < fullPercentBefore && is >= fullPercent)
    yield {
      kind: 'nearly-full',
      severity: 'warning',
      message: `The pool is nearly full: ${left}.`,
      advice: `Delete what is not needed, or add a disk: cairn disk add ${after.directory} NEW-DIRECTORY`,
    };
  if (was >= fullPercentBefore - ROOM_AGAIN_PERCENT && is < fullPercent - ROOM_AGAIN_PERCENT)
    yield { kind: 'room-again', severity: 'good', message: `The pool has room again: ${left}.`, advice: '' };
}

function* jobChanged(before: JobReport | undefined, job: JobReport, pool: string): Generator<NewEvent> {
  const name = JOB_NAMES[job.name] ?? `The job ${job.name}`;
  const isOver = job.state === 'done' || job.state === 'failed' || job.state === 'cancelled';
  const wasAtWork = before?.state === 'running' || before?.state === 'waiting' || before?.state === 'paused';
  if (job.state === 'running' && !wasAtWork)
    yield { kind: 'job-started', severity: 'note', message: `${name} has begun.`, advice: '' };
  // One that began and ended since the last look is over all the same.
  if (!isOver || (before?.state === job.state && before.endedMs === job.endedMs)) return;
  const found = job.name === 'scrub' && job.state === 'done' ? v.safeParse(ScrubFound, job.report) : undefined;
  const severity = job.state === 'failed' ? 'warning' : job.state === 'done' ? 'good' : 'note';
  const advice = job.state === 'failed' ? `Let it go on: cairn job resume ${pool} ${job.name}` : '';
  yield {
    kind: 'job-ended',
    severity,
    message: `${name} is ${job.state}${job.line === job.state ? '' : `: ${job.line}`}${isClean(found) ? ': it found nothing wrong' : ''}.`,
    advice,
  };
  if (found?.success !== true) return;
  const { damagedShards } = found.output;
  if (damagedShards > 0)
    yield {
      kind: 'scrub-found',
      severity: 'warning',
      message: `The scrub found ${damagedShards === 1 ? 'a damaged piece' : `${damagedShards} damaged pieces`} of data on the disks, and mended what the other disks could make good.`,
      advice: `If that happens again on the same disk, replace it; see which: cairn scrub --status ${pool}`,
    };
  const lost = found.output.lost.names.length + found.output.lost.more;
  if (lost > 0)
    yield {
      kind: 'scrub-found',
      severity: 'alarm',
      message: `The scrub found ${lost === 1 ? 'a file' : `${lost} files`} of which a part cannot be read.`,
      advice: `See which: cairn scrub --status ${pool}; restore them from a copy, and scrub again`,
    };
}

function isClean(found: v.SafeParseResult<typeof ScrubFound> | undefined): boolean {
  if (found?.success !== true) return false;
  const { lost, degraded, damagedShards, notes } = found.output;
  return [...lost.names, ...degraded.names, ...notes].length === 0 && damagedShards === 0;
}

/** Ids of the disks that are too hot, or were and have not cooled down yet. */
export function hotDisks(before: ReadonlySet<string>, sensors: readonly DiskSensor[]): Set<string> {
  const isHot = ({ uuid, temperatureCelsius }: DiskSensor): boolean =>
    (temperatureCelsius ?? 0) >= (before.has(uuid) ? COOL_CELSIUS : HOT_CELSIUS);
  return new Set(sensors.filter(isHot).map(({ uuid }) => uuid));
}

/** What the devices say of themselves. `hot`: of which it was told already that they are, as `hotDisks` says. */
export function sensorEvents(
  before: readonly DiskSensor[],
  after: readonly DiskSensor[],
  { disks, directory: pool }: Pick<PoolStatus, 'disks' | 'directory'>,
  hot: ReadonlySet<string>,
): NewEvent[] {
  const hotNow = hotDisks(hot, after);
  const events: NewEvent[] = [];
  for (const sensor of after) {
    const disk = disks.find(({ uuid }) => uuid === sensor.uuid);
    if (disk === undefined) continue;
    const was = before.find(({ uuid }) => uuid === sensor.uuid);
    const fails = (message: string): void => {
      const advice = `Replace it soon: cairn disk replace ${pool} ${disk.number || disk.directory} NEW-DIRECTORY`;
      events.push({ kind: 'disk-failing', severity: 'warning', message, advice });
    };
    if (sensor.smart === 'failing' && was?.smart !== 'failing')
      fails(`${nameOf(disk)} says of itself that it is failing (SMART).`);
    const replaced = (sensor.reallocatedSectors ?? 0) - (was?.reallocatedSectors ?? sensor.reallocatedSectors ?? 0);
    if (replaced > 0) fails(`${nameOf(disk)} has had to replace ${replaced} more of its sectors.`);
    const unreadable = (sensor.pendingSectors ?? 0) - (was?.pendingSectors ?? 0);
    if (unreadable > 0)
      events.push({
        kind: 'disk-failing',
        severity: 'warning',
        message: `${nameOf(disk)} has sectors that it cannot read: ${sensor.pendingSectors}. What stood there is read from the other disks.`,
        advice: `Let everything be read and mended: cairn scrub ${pool}. If there are more again, replace it: cairn disk replace ${pool} ${disk.number || disk.directory} NEW-DIRECTORY`,
      });
    if (hotNow.has(sensor.uuid) && !hot.has(sensor.uuid))
      events.push({
        kind: 'disk-failing',
        severity: 'warning',
        message: `${nameOf(disk)} is at ${sensor.temperatureCelsius} °C.`,
        advice: 'See to its cooling: heat makes disks fail early',
      });
  }
  return events;
}
