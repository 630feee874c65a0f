/**
 * The 128-bit bucket id as 32 lowercase hex digits.
 *
 *     digits   0  2  4  6    8    12     16           28   32
 *              ┌──┬──┬──┬──┬────┬──────┬────────────┬────┐
 *              │si│ro│ra│ma│disk│bucket│    pool    │gen │
 *              └──┴──┴──┴──┴────┴──────┴────────────┴────┘
 *     bits      8  8  8  8   16    16        48       16
 *
 * The place comes first so that ids sort by site, row, rack, machine, disk: a listing of a pool's buckets reads as its racks do.
 */
import { DiskMapError } from './disk-map-error.js';
import type { BucketFields, BucketId } from './types.js';

const BUCKET_ID = /^[0-9a-f]{32}$/;
const POOL = /^[0-9a-f]{12}$/;

/** The id with these fields. Throws DiskMapError INVALID if a field does not fit its bits. */
export function encodeBucketId(fields: BucketFields): BucketId {
  if (!POOL.test(fields.pool)) {
    throw new DiskMapError('INVALID', `bucket id: pool must be 12 lowercase hex digits, got ${quote(fields.pool)}`);
  }
  return (
    hex('site', fields.site, 2) +
    hex('row', fields.row, 2) +
    hex('rack', fields.rack, 2) +
    hex('machine', fields.machine, 2) +
    hex('disk', fields.disk, 4) +
    hex('bucket', fields.bucket, 4) +
    fields.pool +
    hex('generation', fields.generation, 4)
  );
}

/** The fields of an id. Throws DiskMapError INVALID unless it is 32 lowercase hex digits. */
export function decodeBucketId(id: BucketId): BucketFields {
  if (!BUCKET_ID.test(id)) {
    throw new DiskMapError('INVALID', `bucket id: must be 32 lowercase hex digits, got ${quote(id)}`);
  }
  const field = (from: number, to: number): number => Number.parseInt(id.slice(from, to), 16);
  return {
    site: field(0, 2),
    row: field(2, 4),
    rack: field(4, 6),
    machine: field(6, 8),
    disk: field(8, 12),
    bucket: field(12, 16),
    pool: id.slice(16, 28),
    generation: field(28, 32),
  };
}

/** The disk's number in an id that is known to be one: a tenth of the cost of decoding it. */
export function diskOfBucket(id: BucketId): number {
  return Number.parseInt(id.slice(8, 12), 16);
}

function hex(name: string, value: number, digits: number): string {
  if (!Number.isInteger(value) || value < 0 || value >= 16 ** digits) {
    throw new DiskMapError(
      'INVALID',
      `bucket id: ${name} must be an integer from 0 to ${16 ** digits - 1}, got ${value}`,
    );
  }
  return value.toString(16).padStart(digits, '0');
}

/** What a caller without types may have passed, kept to a length that fits a message. */
function quote(value: unknown): string {
  const text = String(value);
  return text.length <= 40 ? `"${text}"` : `"${text.slice(0, 40)}…" (${text.length} characters)`;
}
