/**
 * What is kept of the repair queue: `<pool>/jobs/repair.list`, JSON, always replaced as a whole. A note and no truth: without it, what needs repair is
 * found again by reads, by the walk after opening and by scrubs.
 */
import * as v from 'valibot';
import { CairnError } from '../errors/cairn-error.js';

const BYTES_MAX = 16 * 1024 * 1024;

export interface RepairList {
  readonly format: 1;
  /** Some of their shards are not what they should be. */
  readonly damaged: readonly string[];
  /** They have fewer shards than they should. */
  readonly degraded: readonly string[];
  /** There were more than are kept. */
  readonly isIncomplete: boolean;
}

const chunk = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));

const List = v.strictObject({
  format: v.literal(1),
  damaged: v.array(chunk),
  degraded: v.array(chunk),
  isIncomplete: v.boolean(),
});

export function encodeRepairList(list: RepairList): Buffer {
  return Buffer.from(`${JSON.stringify(list)}\n`, 'utf8');
}

/** CORRUPT if it is not what `encodeRepairList` makes. */
export function decodeRepairList(bytes: Uint8Array): RepairList {
  if (bytes.length > BYTES_MAX) throw new CairnError('CORRUPT', `a repair list of ${bytes.length} bytes`);
  let raw: unknown;
  try {
    raw = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch (cause) {
    throw new CairnError('CORRUPT', 'the repair list is not JSON', { cause });
  }
  const list = v.safeParse(List, raw);
  if (!list.success) throw new CairnError('CORRUPT', `the repair list: ${list.issues[0].message}`);
  return list.output;
}
