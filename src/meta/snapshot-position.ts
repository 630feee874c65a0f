/**
 * Part 0 of a metadata snapshot: the position of the state that the further parts (row-codec.ts) hold.
 *
 *   'Q' format=1 | v sequence | v epoch | v stagedThrough | v nextIno
 */
import { ByteReader } from '../io/byte-reader.js';
import { ByteWriter } from '../io/byte-writer.js';
import type { MetaPosition } from './meta-store.js';

const MARK = 0x51;
const FORMAT = 1;

export function encodeSnapshotPosition(position: MetaPosition): Uint8Array {
  const writer = new ByteWriter();
  writer.byte(MARK);
  writer.byte(FORMAT);
  writer.varint(position.sequence);
  writer.varint(position.epoch);
  writer.varint(position.stagedThrough);
  writer.varint(position.nextIno);
  return writer.finish();
}

/** CORRUPT unless `bytes` are exactly one position. */
export function decodeSnapshotPosition(bytes: Uint8Array): MetaPosition {
  const reader = new ByteReader(bytes, 'the position of a metadata snapshot');
  if (reader.byte() !== MARK) throw reader.corrupt('it is something else');
  const format = reader.byte();
  if (format !== FORMAT) throw reader.corrupt(`its format is ${format}, and this version reads format ${FORMAT}`);
  const sequence = reader.varint();
  const epoch = reader.varint();
  const stagedThrough = reader.varint();
  const nextIno = reader.varint();
  reader.end();
  return { sequence, epoch, stagedThrough, nextIno };
}
