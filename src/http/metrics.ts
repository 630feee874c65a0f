/** What `/metrics` answers: the text format of Prometheus (exposition format 0.0.4). Names are `cairn_…` with units last; docs/metrics.md lists them. */
import type { DiskSensor } from '../monitor/reports.js';
import type { PoolActivity, PoolStatus, RequestFigures } from '../vfs/reports.js';

type Labels = Readonly<Record<string, string | number>>;
type Kind = 'gauge' | 'counter' | 'histogram';

class MetricsText {
  readonly #lines: string[] = [];

  family(
    name: string,
    kind: Kind,
    help: string,
    values: Iterable<readonly [value: number | null, labels?: Labels]>,
  ): void {
    const lines = [...values].flatMap(([value, labels]) => (value === null ? [] : [sample(name, value, labels)]));
    if (lines.length === 0) return;
    this.#lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${kind}`, ...lines);
  }

  histogram(
    name: string,
    help: string,
    bounds: readonly number[],
    series: readonly (readonly [RequestFigures, Labels])[],
  ): void {
    this.#lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} histogram`);
    for (const [{ count, totalMs, withinCounts }, labels] of series) {
      bounds.forEach((ms, i) => {
        this.#lines.push(sample(`${name}_bucket`, withinCounts[i] ?? 0, { ...labels, le: String(ms / 1000) }));
      });
      this.#lines.push(
        sample(`${name}_bucket`, count, { ...labels, le: '+Inf' }),
        sample(`${name}_sum`, totalMs / 1000, labels),
        sample(`${name}_count`, count, labels),
      );
    }
  }

  toString(): string {
    return `${this.#lines.join('\n')}\n`;
  }
}

function sample(name: string, value: number, labels: Labels = {}): string {
  const pairs = Object.entries(labels).map(([key, text]) => `${key}="${escaped(String(text))}"`);
  return `${name}${pairs.length === 0 ? '' : `{${pairs.join(',')}}`} ${value}`;
}

function escaped(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}

const DISK_STATES = ['online', 'suspect', 'offline', 'missing', 'foreign'] as const;
const HEALTHS = ['healthy', 'degraded', 'failed'] as const;
const JOB_STATES = ['idle', 'running', 'waiting', 'paused', 'done', 'cancelled', 'failed'] as const;

export function metricsText(status: PoolStatus, activity: PoolActivity, sensors: readonly DiskSensor[]): string {
  const text = new MetricsText();
  const one = (name: string, kind: Kind, help: string, value: number) => text.family(name, kind, help, [[value]]);
  const { read, write, sync } = activity;

  text.family('cairn_pool_info', 'gauge', 'Always 1; which pool this is.', [
    [1, { pool: status.pool, mode: status.mode }],
  ]);
  text.family(
    'cairn_pool_health',
    'gauge',
    '1 for the state that the pool is in.',
    HEALTHS.map((health) => [Number(status.health === health), { health }] as const),
  );
  one(
    'cairn_pool_findings',
    'gauge',
    'Things that are wrong with the pool, as cairn status names them.',
    status.findings.length,
  );
  one('cairn_pool_usable_bytes', 'gauge', 'Plain bytes that the pool can hold.', status.usableBytes);
  one('cairn_pool_used_bytes', 'gauge', 'Plain bytes that the pool holds.', status.usedBytes);
  one('cairn_pool_free_bytes', 'gauge', 'Plain bytes that the pool still takes.', status.freeBytes);
  one('cairn_pool_files', 'gauge', 'Files and directories.', status.files);
  // No counter: it is the pool's, and outlives every daemon.
  one('cairn_pool_commit_sequence', 'gauge', 'Number of the last commit.', status.commitSequence);
  text.family(
    'cairn_pool_groups',
    'gauge',
    'Groups of buckets, by scheme.',
    status.groups.map(({ scheme, count }) => [count, { scheme }] as const),
  );
  text.family(
    'cairn_pool_degraded_groups',
    'gauge',
    'Groups of which a bucket is on a disk that is away.',
    status.groups.map(({ scheme, degraded }) => [degraded, { scheme }] as const),
  );
  one(
    'cairn_degraded_write_bytes',
    'gauge',
    'Bytes committed with fewer shards than promised and not made whole yet.',
    status.degradedWrites.bytes,
  );
  one(
    'cairn_unreadable_bytes',
    'gauge',
    'Bytes of files that cannot be read from the disks that are here.',
    status.forecast.unreadable.bytes,
  );

  one(
    'cairn_staged_bytes',
    'gauge',
    'Bytes written and not committed, those under way included.',
    activity.stagedBytes,
  );
  one('cairn_committing_bytes', 'gauge', 'Bytes that a commit has under way.', activity.committingBytes);
  one('cairn_staged_files', 'gauge', 'Files with staged bytes.', status.dirtyFiles);
  one(
    'cairn_committed_bytes_total',
    'counter',
    'Plain bytes that commits have taken since the daemon began.',
    activity.committedBytes,
  );
  one('cairn_cache_bytes', 'gauge', 'Bytes in the cache.', status.cacheBytes);
  one('cairn_cache_capacity_bytes', 'gauge', 'Bytes that the cache may hold.', status.cacheCapacityBytes);

  const disk = ({
    role,
    number,
    uuid,
    directory,
  }: {
    role: string;
    number: number;
    uuid: string;
    directory: string;
  }): Labels => ({ disk: number, role, uuid, directory });
  text.family(
    'cairn_disk_state',
    'gauge',
    '1 for the state that the disk is in.',
    status.disks.flatMap((each) =>
      DISK_STATES.map((state) => [Number(each.state === state), { ...disk(each), state }] as const),
    ),
  );
  text.family(
    'cairn_disk_capacity_bytes',
    'gauge',
    'Bytes that the disk offers.',
    status.disks.map((each) => [each.capacityBytes, disk(each)] as const),
  );
  text.family(
    'cairn_disk_live_bytes',
    'gauge',
    'Bytes on the disk that are needed.',
    status.disks.map((each) => [each.liveBytes, disk(each)] as const),
  );
  text.family(
    'cairn_disk_free_bytes',
    'gauge',
    'Bytes that the disk still takes.',
    status.disks.map((each) => [each.freeBytes, disk(each)] as const),
  );
  text.family(
    'cairn_disk_would_lose_bytes',
    'gauge',
    'Bytes of files that would be lost if this disk died now.',
    status.forecast.disks.map((each) => [each.bytes, disk(each)] as const),
  );
  one(
    'cairn_forecast_counted_ratio',
    'gauge',
    'Share of the chunks that cairn_disk_would_lose_bytes and cairn_unreadable_bytes are about; below 1 while it is being counted.',
    status.forecast.counted,
  );
  const sensorLabels = (sensor: DiskSensor): Labels => {
    const found = status.disks.find(({ uuid }) => uuid === sensor.uuid);
    return found === undefined ? { uuid: sensor.uuid } : disk(found);
  };
  text.family(
    'cairn_disk_temperature_celsius',
    'gauge',
    'Temperature that the disk reports.',
    sensors.map((each) => [each.temperatureCelsius, sensorLabels(each)] as const),
  );
  text.family(
    'cairn_disk_smart_failing',
    'gauge',
    '1 if the disk says of itself that it is failing (SMART).',
    sensors.map((each) => [each.smart === null ? null : Number(each.smart === 'failing'), sensorLabels(each)] as const),
  );
  text.family(
    'cairn_disk_reallocated_sectors',
    'gauge',
    'Sectors that the disk has replaced.',
    sensors.map((each) => [each.reallocatedSectors, sensorLabels(each)] as const),
  );
  text.family(
    'cairn_disk_pending_sectors',
    'gauge',
    'Sectors that the disk could not read.',
    sensors.map((each) => [each.pendingSectors, sensorLabels(each)] as const),
  );

  text.family(
    'cairn_job_state',
    'gauge',
    '1 for the state that the job is in.',
    status.jobs.flatMap(({ name, state: is }) =>
      JOB_STATES.map((state) => [Number(is === state), { job: name, state }] as const),
    ),
  );
  text.family(
    'cairn_job_done_bytes',
    'gauge',
    'Bytes that the job has behind it.',
    status.jobs.map(({ name, doneBytes }) => [doneBytes, { job: name }] as const),
  );
  text.family(
    'cairn_job_total_bytes',
    'gauge',
    'Bytes that the job has to do; 0 if not known.',
    status.jobs.map(({ name, totalBytes }) => [totalBytes, { job: name }] as const),
  );

  const kinds = [
    [read, { kind: 'read' }],
    [write, { kind: 'write' }],
    [sync, { kind: 'sync' }],
  ] as const;
  text.family('cairn_request_bytes_total', 'counter', 'Bytes that requests of users have read and written.', [
    [read.bytes, { kind: 'read' }],
    [write.bytes, { kind: 'write' }],
  ]);
  text.histogram(
    'cairn_request_duration_seconds',
    'How long requests of users took in the daemon.',
    activity.boundsMs,
    kinds,
  );

  const cpu = process.cpuUsage();
  one('process_cpu_seconds_total', 'counter', 'User and system CPU time of the daemon.', (cpu.user + cpu.system) / 1e6);
  one('process_resident_memory_bytes', 'gauge', 'Resident memory of the daemon.', process.memoryUsage.rss());
  return text.toString();
}
