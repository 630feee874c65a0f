/** Turns records into the parts of one gathered write. Payloads are not copied: only headers and paddings are made. */
import type { LogContext, LoggedRecord, LogPoint } from './log-context.js';
import type { RecordInput } from './record.js';
import {
  encodeRecordHeader,
  headerBytes,
  nameLength,
  payloadLength,
  payloadParts,
  RECORD_ALIGNMENT,
} from './record-codec.js';

const PADDING = Array.from({ length: RECORD_ALIGNMENT }, (_, length) => Buffer.alloc(length));

/** `sizes` are the records' whole lengths; the first record goes to `at`. */
export function encodeBatch(
  records: readonly RecordInput[],
  sizes: readonly number[],
  at: LogPoint,
  owner: string,
  { crc32c, numbers }: Pick<LogContext, 'crc32c' | 'numbers'>,
): { parts: Uint8Array[]; places: LoggedRecord[] } {
  let allHeaders = 0;
  for (const record of records) allHeaders += headerBytes(payloadLength(record), nameLength(record));
  const headers = Buffer.allocUnsafe(allHeaders);
  const parts: Uint8Array[] = [];
  const places: LoggedRecord[] = [];
  const { segment } = at;
  let headerAt = 0;
  let position = at.position;
  for (let i = 0; i < records.length; i++) {
    const record = records[i] as RecordInput;
    const size = sizes[i] as number;
    const logSequence = numbers.nextSequence();
    const length = encodeRecordHeader(record, { generation: segment, logSequence, owner }, crc32c, headers, headerAt);
    parts.push(headers.subarray(headerAt, headerAt + length));
    headerAt += length;
    let written = length;
    for (const part of payloadParts(record)) {
      if (part.length > 0) parts.push(part);
      written += part.length;
    }
    if (written < size) parts.push(PADDING[size - written] as Buffer);
    places.push({ segment, position, recordBytes: size, logSequence });
    position += size;
  }
  return { parts, places };
}
