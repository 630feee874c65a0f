/**
 * What the stage log of an earlier run means after a crash: which of its operations still count, and which bytes of each file
 * are in the log, in the cache file, or lost.
 *
 * A killed process loses nothing that reached the page cache, so every operation counts. After a power cut (another boot than the
 * one that wrote) an operation that says "the bytes are in the cache file" counts only if the file was synced after it; the rest
 * was never promised. A cache device that was unplugged and is back in the same boot has had its power cut too, which only the cache files
 * show: whoever finds one of them lacking takes `withoutPages`. Neither was what a power cut left behind a gap (`countingRecords`). What has been evicted is neither in the file nor lost: a commit has it.
 */
import type { Log } from '../disks/log.js';
import { hasCode } from '../errors/cairn-error.js';
import type { Ino } from '../meta/rows.js';
import { END, RangeMap } from './range-map.js';
import { decodeStageRecord, type StageOp, type StageRecord } from './stage-op.js';

export type ContentOp = Extract<StageOp, { kind: 'write' | 'size' | 'punch' | 'evicted' }>;

/** Changes of names and attributes. */
type NameOp = Exclude<StageOp, ContentOp | { readonly kind: 'synced' | 'cut' }>;

export interface Sequenced<T> {
  readonly sequence: number;
  readonly op: T;
}

/** Its bytes never reached the device. */
export interface LostWrite {
  readonly sequence: number;
  readonly from: number;
  readonly to: number;
}

export interface StagedContents {
  /** Content operations that count, per file, in order. */
  readonly contents: ReadonlyMap<Ino, readonly Sequenced<ContentOp>[]>;
  /** Writes among them that a power cut took, per file, in order: before or between those that count. */
  readonly lost: ReadonlyMap<Ino, readonly LostWrite[]>;
}

export interface StagedReplay extends StagedContents {
  /** Namespace and attribute operations, in order. */
  readonly names: readonly Sequenced<NameOp>[];
  /** What of the contents counts if the cache's device has lost pages also in this boot. */
  withoutPages(): StagedContents;
  /** The highest sequence met; 0 in an empty log. */
  readonly lastSequence: number;
  /** The last sequence in each segment. */
  readonly lastIn: ReadonlyMap<number, number>;
  /** Writes in what a power cut broke off, and nobody had been promised. */
  readonly brokenOffWrites: number;
  /** Where a power cut broke the log off, if what it holds beyond is to be marked as not counting. */
  readonly cutAfter: number | undefined;
  /** Sentences about records that could not be read. */
  readonly notes: readonly string[];
}

/** One record of the log as found. */
interface FoundRecord {
  readonly first: number;
  /** Undefined: it is damaged. */
  readonly content: StageRecord | undefined;
}

/** `committedThrough`: the stage sequence up to which the newest commit has everything; segments with nothing beyond it may have been given back. */
export async function readStageLog(log: Log, bootId: string, committedThrough = 0): Promise<StagedReplay> {
  const notes: string[] = [];
  const lastIn = new Map<number, number>();
  const found: FoundRecord[] = [];
  let lastSequence = 0;
  for await (const record of log.scan()) {
    if (record.header.kind !== 'stage') continue;
    const first = record.header.sequence;
    let content: StageRecord | undefined;
    try {
      content = decodeStageRecord(await record.payload());
      lastIn.set(record.segment, Math.max(lastIn.get(record.segment) ?? 0, first - 1 + content.ops.length));
    } catch (error) {
      if (!hasCode(error, 'CORRUPT')) throw error;
      notes.push(`a record of the stage log is damaged and was skipped: ${error.message}`);
    }
    // How many operations a damaged one held is not known; the first one's sequence at least is taken.
    lastSequence = Math.max(lastSequence, content === undefined ? first : first - 1 + content.ops.length);
    found.push({ first, content });
  }
  const { counting, brokenOff, cutAfter } = countingRecords(found, committedThrough, notes);
  const brokenOffWrites = countWrites(brokenOff);
  const withoutPages = (): StagedContents => replayOf(counting, undefined);
  return { ...replayOf(counting, bootId), withoutPages, brokenOffWrites, lastSequence, lastIn, cutAfter, notes };
}

/**
 * The records that count. Sequences of undamaged ones follow each other; where one is missing that no record knows to have been durable, a
 * power cut took it, and what was written after it but reached the device before it does not count: else a name could vanish and the change that
 * followed it stay. A gap in what was durable is damage: what lies behind it counts.
 */
function countingRecords(
  found: readonly FoundRecord[],
  committedThrough: number,
  notes: string[],
): { counting: FoundRecord[]; brokenOff: FoundRecord[]; cutAfter: number | undefined } {
  let records = [...found];
  for (const { first, content } of found) {
    const op = content?.ops[0];
    if (op?.kind === 'cut') records = records.filter((other) => other.first <= op.after || other.first >= first);
  }
  let durable = 0;
  for (const { content } of records) durable = Math.max(durable, content?.durableThrough ?? 0);
  let next: number | undefined;
  for (const [i, { first, content }] of records.entries()) {
    const follows = first === next || content?.ops[0]?.kind === 'cut';
    // What is missing has been committed and given back, or was safe, or else was never promised: nor was what follows.
    const needless = first - 1 <= committedThrough || (next === undefined && first - 1 <= durable);
    const broken = !follows && !needless && (next === undefined || next > durable);
    if (broken || (content === undefined && first > durable))
      return {
        counting: records.slice(0, i),
        brokenOff: records.slice(i),
        cutAfter: Math.max(0, (next ?? first) - 1),
      };
    if (!follows && !needless)
      notes.push(`operations ${next} to ${first - 1} are missing from the stage log, though they were safe there`);
    next = content === undefined ? undefined : first + content.ops.length;
  }
  return { counting: records, brokenOff: [], cutAfter: undefined };
}

function countWrites(records: readonly FoundRecord[]): number {
  let writes = 0;
  for (const { content } of records) for (const op of content?.ops ?? []) if (op.kind === 'write') writes += 1;
  return writes;
}

/** `bootId`: of the boot whose pages are all there; undefined: of none. */
function replayOf(
  records: readonly FoundRecord[],
  bootId: string | undefined,
): Pick<StagedReplay, 'names' | 'contents' | 'lost'> {
  const names: Sequenced<NameOp>[] = [];
  const all = new Map<Ino, { sequence: number; op: ContentOp; boot: string }[]>();
  /** Per boot and inode: writes up to this sequence are on the device. */
  const synced = new Map<string, number>();
  for (const { first, content } of records) {
    if (content === undefined) continue;
    const { bootId: boot } = content;
    let sequence = first - 1;
    for (const op of content.ops) {
      sequence += 1;
      if (op.kind === 'synced') synced.set(`${boot}/${op.ino}`, op.through);
      else if (op.kind === 'write' || op.kind === 'size' || op.kind === 'punch' || op.kind === 'evicted') {
        const list = all.get(op.ino);
        if (list === undefined) all.set(op.ino, [{ sequence, op, boot }]);
        else list.push({ sequence, op, boot });
      } else if (op.kind !== 'cut') names.push({ sequence, op });
    }
  }
  const contents = new Map<Ino, Sequenced<ContentOp>[]>();
  const lost = new Map<Ino, LostWrite[]>();
  for (const [ino, ops] of all) {
    const kept = ops.filter(
      ({ op, sequence, boot: written }) =>
        op.kind !== 'write' ||
        op.bytes !== undefined ||
        written === bootId ||
        sequence <= (synced.get(`${written}/${ino}`) ?? 0),
    );
    contents.set(ino, kept);
    if (kept.length === ops.length) continue;
    const counts = new Set<number>(kept.map(({ sequence }) => sequence));
    lost.set(
      ino,
      ops.flatMap(({ op, sequence }) =>
        op.kind === 'write' && !counts.has(sequence) ? [{ sequence, from: op.offset, to: op.offset + op.length }] : [],
      ),
    );
  }
  return { names, contents, lost };
}

/** The outcome of one file's operations. */
export interface ReplayedContent {
  /** Ranges whose bytes the cache file holds already. */
  readonly inFile: readonly { readonly from: number; readonly to: number }[];
  /** Bytes to be written into the cache. */
  readonly inline: readonly { readonly from: number; readonly bytes: Uint8Array }[];
  /** Ranges that read as zeros; `to` may be END. */
  readonly holes: readonly { readonly from: number; readonly to: number }[];
  readonly sizeBytes: number;
}

const SETTLED = 1;

/**
 * Applies the operations to a file of `sizeBytes`. Where nothing is known of bytes that a lost write brought behind that size, the file ends: with
 * the size that it was given later, it would have zeros that nobody has written. No fsync has been answered since such a write, since it
 * would have made the write count.
 */
export function replayContent(
  ops: readonly Sequenced<ContentOp>[],
  sizeBytes: number,
  lost: readonly LostWrite[] = [],
): ReplayedContent {
  const settled = new RangeMap();
  const outcome = replayInto(settled, ops, sizeBytes);
  let end = outcome.sizeBytes;
  /** What the file had before the lost write stays as it was, holes and all. */
  let before = sizeBytes;
  let next = 0;
  for (const { sequence, from, to } of lost) {
    for (; next < ops.length && ops[next]!.sequence < sequence; next++) before = sizeAfter(before, ops[next]!.op);
    const start = Math.max(from, before);
    if (start >= Math.min(to, end)) continue;
    settled.forEach(
      start,
      Math.min(to, end),
      (gap, _to, value) => {
        if (value !== SETTLED) end = Math.min(end, gap);
      },
      true,
    );
  }
  if (end === outcome.sizeBytes) return outcome;
  const ino = ops[0]!.op.ino;
  return replayInto(new RangeMap(), [...ops, { sequence: 0, op: { kind: 'size', ino, sizeBytes: end } }], sizeBytes);
}

/** The last operation that touches a byte decides about it: so they are looked at backwards. */
function replayInto(settled: RangeMap, ops: readonly Sequenced<ContentOp>[], sizeBytes: number): ReplayedContent {
  const inFile: { from: number; to: number }[] = [];
  const inline: { from: number; bytes: Uint8Array }[] = [];
  const holes: { from: number; to: number }[] = [];
  const unsettled = (from: number, to: number, take: (from: number, to: number) => void): void => {
    const gaps: [number, number][] = [];
    settled.forEach(from, to, (start, end, value) => value !== SETTLED && gaps.push([start, end]), true);
    for (const [start, end] of gaps) take(start, end);
    settled.set(from, to, SETTLED);
  };
  for (let i = ops.length - 1; i >= 0; i--) {
    const { op } = ops[i]!;
    if (op.kind === 'write' && op.length > 0) {
      const { bytes, offset } = op;
      unsettled(offset, offset + op.length, (from, to) => {
        if (bytes === undefined) inFile.push({ from, to });
        else inline.push({ from, bytes: bytes.subarray(from - offset, to - offset) });
      });
    } else if (op.kind === 'size') unsettled(op.sizeBytes, END, (from, to) => holes.push({ from, to }));
    else if (op.kind === 'punch' && op.from < op.to) unsettled(op.from, op.to, (from, to) => holes.push({ from, to }));
    else if (op.kind === 'evicted' && op.from < op.to) unsettled(op.from, op.to, () => undefined);
  }
  let size = sizeBytes;
  for (const { op } of ops) size = sizeAfter(size, op);
  return { inFile, inline, holes, sizeBytes: size };
}

function sizeAfter(sizeBytes: number, op: ContentOp): number {
  if (op.kind === 'size') return op.sizeBytes;
  if (op.kind === 'write' && op.length > 0) return Math.max(sizeBytes, op.offset + op.length);
  return op.kind === 'evicted' ? Math.max(sizeBytes, op.to) : sizeBytes;
}
