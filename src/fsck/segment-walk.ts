/**
 * Every record of one segment file as it lies there, with its payload verified against the checksums in its header. Only reads; what recovery
 * would cut or mend is told, not touched.
 */
import {
  type Crc32c,
  type DecodedRecord,
  decodeRecordHeader,
  readChecksums,
  verifyBlocks,
} from '../disks/record-codec.js';
import { SegmentScan } from '../disks/segment-scan.js';
import { hasCode } from '../errors/cairn-error.js';
import type { FileIo, IoFile } from '../io/file-io.js';

export interface SegmentFile {
  readonly path: string;
  readonly stream: string;
  readonly segment: number;
}

/** Segment files of one log, ascending. `.new` and `.spare` files hold nothing. */
export async function segmentFiles(io: FileIo, directory: string, stream: string): Promise<SegmentFile[]> {
  const pattern = new RegExp(`^${stream}-(\\d{10})\\.log$`);
  const names = await io.list(directory).catch((error: unknown): string[] => {
    if (hasCode(error, 'NOT_FOUND')) return [];
    throw error;
  });
  return names
    .flatMap((name) => {
      const match = pattern.exec(name);
      return match === null ? [] : [{ path: `${directory}/${name}`, stream, segment: Number(match[1]) }];
    })
    .sort((a, b) => a.segment - b.segment);
}

export interface WalkedRecord {
  readonly decoded: DecodedRecord;
  readonly position: number;
  /** The payload where it verifies, as long as it was asked for; undefined: it does not. */
  readonly payload: Buffer | undefined;
}

/** Bytes that are no record, between two records or at the end. */
export interface Hole {
  readonly from: number;
  readonly to: number;
}

export interface SegmentEnd {
  /** Where the last good record ends. */
  readonly tail: number;
  /** Something was begun at the tail that does not verify. */
  readonly torn: boolean;
  readonly unreadable: boolean;
  /** The file is on its way to another number: what it holds is of no use any more. */
  readonly recycled: boolean;
}

export interface WalkTarget {
  readonly file: IoFile;
  readonly segment: number;
  readonly endBytes: number;
  readonly owner: string;
  readonly crc32c: Crc32c;
  /** After each piece of the file that was read. */
  readonly onRead?: (() => Promise<void>) | undefined;
}

/** Calls `onRecord` and `onHole` in the order of their positions. */
export async function walkSegment(
  target: WalkTarget,
  from: number,
  onRecord: (record: WalkedRecord) => Promise<void>,
  onHole: (hole: Hole) => Promise<void>,
): Promise<SegmentEnd> {
  if (from === 0 && (await hasOtherLife(target))) return { tail: 0, torn: false, unreadable: false, recycled: true };
  const scan = new SegmentScan({ ...target, verify: false }, from);
  let holes = 0;
  for (let found = await scan.next(); found !== undefined; found = await scan.next()) {
    for (; holes < scan.gaps.length; holes++) await onHole(scan.gaps[holes]!);
    const { decoded, position } = found;
    await onRecord({ decoded, position, payload: found.nearPayload() ?? (await payloadAt(target, position, decoded)) });
  }
  return { tail: scan.tail, torn: scan.torn, unreadable: scan.unreadable, recycled: false };
}

/** The record at a place, header only; undefined if there is none. */
export async function recordAt(target: WalkTarget, position: number): Promise<DecodedRecord | undefined> {
  const scan = new SegmentScan({ ...target, verify: false }, position);
  const found = await scan.next();
  return found?.position === position ? found.decoded : undefined;
}

async function payloadAt(
  { file, crc32c }: WalkTarget,
  position: number,
  { headerBytes, payloadBytes }: DecodedRecord,
): Promise<Buffer | undefined> {
  const bytes = Buffer.allocUnsafe(headerBytes + payloadBytes);
  try {
    if ((await file.read(bytes, position)) < bytes.length) return undefined;
  } catch (error) {
    if (hasCode(error, 'IO')) return undefined;
    throw error;
  }
  const payload = bytes.subarray(headerBytes);
  return verifyBlocks(payload, readChecksums(bytes, 0, payloadBytes), 0, crc32c) ? payload : undefined;
}

async function hasOtherLife({ file, segment, owner, crc32c }: WalkTarget): Promise<boolean> {
  const bytes = Buffer.alloc(4096);
  try {
    await file.read(bytes, 0);
  } catch (error) {
    if (hasCode(error, 'IO')) return false;
    throw error;
  }
  const start = decodeRecordHeader(bytes, 0, crc32c);
  return start?.record.kind === 'segment' && start.owner === owner && start.generation > segment;
}
