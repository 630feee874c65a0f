/** Walks the records of a whole open log, segment by segment. Payloads are verified when they are asked for. */
import type { LogOptions, ScannedRecord } from './log.js';
import type { LogContext } from './log-context.js';
import type { RecordLocation } from './record.js';
import type { RecordReader } from './record-reader.js';
import type { SegmentFiles } from './segment-files.js';
import { SegmentScan } from './segment-scan.js';

/** `segments` ascending, with where their records end. Damage is reported and passed over. */
export async function* scanLog(
  segments: readonly { readonly segment: number; readonly usedBytes: number }[],
  from: RecordLocation | undefined,
  files: SegmentFiles,
  reader: RecordReader,
  { name, owner }: LogOptions,
  { crc32c, report }: Pick<LogContext, 'crc32c' | 'report'>,
): AsyncGenerator<ScannedRecord, void> {
  const last = segments.at(-1)?.segment;
  for (const { segment, usedBytes } of segments) {
    if (from !== undefined && segment < from.segment) continue;
    const file = await files.pin(segment);
    try {
      const start = segment === from?.segment ? from.position : 0;
      // The last one may be written to at this moment, and a stat between a write and its sync costs a second flush.
      const endBytes = segment === last ? usedBytes : Math.min(usedBytes, await file.size());
      const target = { file, segment, endBytes, owner, crc32c, verify: false };
      const scan = new SegmentScan(target, start);
      for (let found = await scan.next(); found !== undefined; found = await scan.next()) {
        const { decoded, position, nearPayload } = found;
        if (decoded.record.kind === 'segment') continue;
        const at = { segment, position, recordBytes: decoded.recordBytes };
        const payload = async (): Promise<Buffer> => nearPayload() ?? (await reader.read(at)).payload;
        yield { ...at, kind: decoded.record.kind, header: decoded.record, logSequence: decoded.logSequence, payload };
      }
      const what = `${name} segment ${segment}`;
      for (const gap of scan.gaps) report(`${what}: skipped damaged bytes ${gap.from} to ${gap.to}`);
      if (scan.torn) report(`${what} ends within a record at ${scan.tail}: the file was truncated or damaged`);
      if (scan.unreadable) report(`${what}: some sectors could not be read`);
    } finally {
      files.unpin(segment);
    }
  }
}
