/**
 * What a scrub has done and found, by file name. It travels in the cursor of the job, so that a scrub that goes on after a crash reports the whole;
 * so its lists are bounded.
 */
import * as v from 'valibot';
import type { Json } from '../jobs/job.js';

/** Files that are named; more are counted. */
const FILES_MAX = 1000;
const NOTES_MAX = 100;

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const Files = v.strictObject({ names: v.array(v.string()), more: count });

const Report = v.strictObject({
  format: v.literal(1),
  disks: count,
  records: count,
  /** Read and held against checksums. */
  bytes: count,
  /** Shards that were damaged, or not what their chunk makes. */
  damagedShards: count,
  shardsWritten: count,
  bytesWritten: count,
  /** Every file of the pool was looked at for chunks that lack shards. */
  files: count,
  /** Files of which something was repaired. */
  repaired: Files,
  /** Files of which something can be read, and is less safe than promised: for want of a disk, or of room. */
  degraded: Files,
  /** Files of which something cannot be read. */
  lost: Files,
  /** Sentences: the journal's copies, segments that cannot be read. */
  notes: v.array(v.string()),
});

export type ScrubReport = v.InferOutput<typeof Report>;
type FileList = 'repaired' | 'degraded' | 'lost';

export function emptyReport(): ScrubReport {
  const none = (): { names: string[]; more: number } => ({ names: [], more: 0 });
  return {
    format: 1,
    disks: 0,
    records: 0,
    bytes: 0,
    damagedShards: 0,
    shardsWritten: 0,
    bytesWritten: 0,
    files: 0,
    repaired: none(),
    degraded: none(),
    lost: none(),
    notes: [],
  };
}

/** undefined if it is none. */
export function readReport(json: Json): ScrubReport | undefined {
  const report = v.safeParse(Report, json);
  return report.success ? report.output : undefined;
}

export function addFile(report: ScrubReport, list: FileList, path: string): void {
  const { names } = report[list];
  if (names.includes(path)) return;
  if (names.length < FILES_MAX) names.push(path);
  else report[list].more += 1;
}

export function addNote(report: ScrubReport, note: string): void {
  if (report.notes.length < NOTES_MAX && !report.notes.includes(note)) report.notes.push(note);
}
