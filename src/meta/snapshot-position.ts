/** Part 0 of a metadata snapshot: magic, then the position, as whole numbers of eight bytes (byte-buffer.ts). */
import { CairnError } from '../errors/cairn-error.js';
import { ByteReader, ByteWriter } from '../io/byte-buffer.js';
import type { MetaPosition } from './meta-store.js';

/** `CSN1`, little-endian. */
const MAGIC = 0x314e_5343;

export function encodeSnapshotPosition(position: MetaPosition): Uint8Array {
  const writer = new ByteWriter(64);
  writer.u32(MAGIC);
  writer.whole(position.sequence);
  writer.whole(position.epoch);
  writer.whole(position.stagedThrough);
  writer.whole(position.nextIno);
  return writer.copy();
}

/** CORRUPT if it is anything else. */
export function decodeSnapshotPosition(bytes: Uint8Array): MetaPosition {
  const reader = new ByteReader(bytes);
  if (reader.u32() !== MAGIC) throw new CairnError('CORRUPT', 'this is not the beginning of a metadata snapshot');
  const position = {
    sequence: reader.whole(),
    epoch: reader.whole(),
    stagedThrough: reader.whole(),
    nextIno: reader.whole(),
  };
  if (reader.remaining > 0) throw new CairnError('CORRUPT', 'the beginning of a metadata snapshot is too long');
  return position;
}
