/**
 * The checksums that S3 clients send and ask for. CRCs are kept as they run; those of parts can be combined into that of the whole without reading a byte
 * again. CRC32 is computed here where Node has it not, eight bytes at a step; CRC32C and CRC64NVME by the addon.
 */
import { createHash } from 'node:crypto';
import * as zlib from 'node:zlib';
import { loadAddon } from '../../native/addon.js';

export const CHECKSUMS = ['CRC32', 'CRC32C', 'CRC64NVME', 'SHA1', 'SHA256'] as const;
export type ChecksumName = (typeof CHECKSUMS)[number];

export interface RunningChecksum {
  update(bytes: Uint8Array): void;
  /** Big-endian, as S3 writes it in base64. Ends it. */
  digest(): Buffer;
}

/** Undefined if there is no checksum of this name, in any case. */
export function checksumNamed(name: string): ChecksumName | undefined {
  const upper = name.toUpperCase();
  return CHECKSUMS.find((known) => known === upper);
}

export function checksumHeader(name: ChecksumName): string {
  return `x-amz-checksum-${name.toLowerCase()}`;
}

/** How S3 calls a checksum of the whole object, and one of its parts' checksums. */
export function checksumType({
  isComposite,
}: {
  readonly isComposite?: boolean | undefined;
}): 'COMPOSITE' | 'FULL_OBJECT' {
  return isComposite === true ? 'COMPOSITE' : 'FULL_OBJECT';
}

export function checksumBytes(name: ChecksumName): number {
  return { CRC32: 4, CRC32C: 4, CRC64NVME: 8, SHA1: 20, SHA256: 32 }[name];
}

/** CRCs can stand for a whole of several parts; the SHAs only for the list of those of the parts. */
export function isLinear(name: ChecksumName): boolean {
  return name.startsWith('CRC');
}

export function newChecksum(name: ChecksumName): RunningChecksum {
  switch (name) {
    case 'CRC32':
      return new Crc32();
    case 'CRC32C':
      return new Crc32c();
    case 'CRC64NVME':
      return new Crc64();
    case 'SHA1':
      return createHash('sha1');
    case 'SHA256':
      return createHash('sha256');
  }
}

const SLICES = 8;

/** tables[k][b]: what byte b does to the register after k more zero bytes. */
function tables32(polynomial: number): Uint32Array[] {
  const tables = Array.from({ length: SLICES }, () => new Uint32Array(256));
  for (let byte = 0; byte < 256; byte++) {
    let value = byte;
    for (let bit = 0; bit < 8; bit++) value = (value & 1) === 1 ? (value >>> 1) ^ polynomial : value >>> 1;
    tables[0]![byte] = value >>> 0;
  }
  for (let slice = 1; slice < SLICES; slice++) {
    for (let byte = 0; byte < 256; byte++) {
      const before = tables[slice - 1]![byte]!;
      tables[slice]![byte] = ((before >>> 8) ^ tables[0]![before & 255]!) >>> 0;
    }
  }
  return tables;
}

const CRC32_POLYNOMIAL = 0xedb88320;
const CRC32C_POLYNOMIAL = 0x82f63b78;
type Tables = readonly [T, T, T, T, T, T, T, T];
type T = Uint32Array;
const [C0, C1, C2, C3, C4, C5, C6, C7] = tables32(CRC32_POLYNOMIAL) as unknown as Tables;

/** Node has it from 22.2 on, with the processor's help. */
const native32 = (zlib as { crc32?: (bytes: Uint8Array, value: number) => number }).crc32;

class Crc32 implements RunningChecksum {
  #value = 0;

  update(bytes: Uint8Array): void {
    this.#value = native32 === undefined ? crc32(bytes, this.#value) : native32(bytes, this.#value);
  }

  digest(): Buffer {
    return bytes32(this.#value);
  }
}

function crc32(bytes: Uint8Array, before: number): number {
  let crc = ~before;
  const end = bytes.length - (bytes.length % 8);
  let i = 0;
  for (; i < end; i += 8) {
    crc ^= bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24);
    crc =
      C7[crc & 255]! ^
      C6[(crc >>> 8) & 255]! ^
      C5[(crc >>> 16) & 255]! ^
      C4[crc >>> 24]! ^
      C3[bytes[i + 4]!]! ^
      C2[bytes[i + 5]!]! ^
      C1[bytes[i + 6]!]! ^
      C0[bytes[i + 7]!]!;
  }
  for (; i < bytes.length; i++) crc = (crc >>> 8) ^ C0[(crc ^ bytes[i]!) & 255]!;
  return ~crc >>> 0;
}

class Crc32c implements RunningChecksum {
  readonly #addon = loadAddon();
  #value = 0;

  update(bytes: Uint8Array): void {
    this.#value = this.#addon.crc32c(bytes, 0, bytes.length, this.#value);
  }

  digest(): Buffer {
    return bytes32(this.#value);
  }
}

function bytes32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
}

/** x^64 + … of the NVMe specification, reflected. */
const CRC64_POLYNOMIAL = 0x9a6c9329ac4bc9b5n;

class Crc64 implements RunningChecksum {
  readonly #addon = loadAddon();
  readonly #value = Buffer.alloc(8);

  update(bytes: Uint8Array): void {
    this.#addon.crc64Nvme(this.#value, bytes);
  }

  digest(): Buffer {
    return this.#value;
  }
}

/** The CRC of parts one after the other, from theirs and their lengths. */
export function combineCrc(
  name: 'CRC32' | 'CRC32C' | 'CRC64NVME',
  parts: readonly { readonly value: Uint8Array; readonly length: number }[],
): Buffer {
  const width = name === 'CRC64NVME' ? 64 : 32;
  const polynomial = {
    CRC32: BigInt(CRC32_POLYNOMIAL),
    CRC32C: BigInt(CRC32C_POLYNOMIAL),
    CRC64NVME: CRC64_POLYNOMIAL,
  }[name];
  let whole = 0n;
  for (const { value, length } of parts) {
    const part = BigInt(`0x${Buffer.from(value).toString('hex')}`);
    whole = times(whole, power(length, polynomial, width), polynomial, width) ^ part;
  }
  return Buffer.from(whole.toString(16).padStart(width / 4, '0'), 'hex');
}

/** a·b modulo the polynomial; bit width-1 is x^0 (reflected). */
function times(a: bigint, b: bigint, polynomial: bigint, width: number): bigint {
  let product = 0n;
  let shifted = b;
  for (let bit = BigInt(width - 1); bit >= 0n; bit--) {
    if (((a >> bit) & 1n) === 1n) product ^= shifted;
    shifted = (shifted & 1n) === 1n ? (shifted >> 1n) ^ polynomial : shifted >> 1n;
  }
  return product;
}

/** x to the power of 8·bytes. */
function power(bytes: number, polynomial: bigint, width: number): bigint {
  let result = 1n << BigInt(width - 1);
  let square = 1n << BigInt(width - 9);
  for (let left = bytes; left > 0; left = Math.floor(left / 2)) {
    if (left % 2 === 1) result = times(result, square, polynomial, width);
    square = times(square, square, polynomial, width);
  }
  return result;
}
