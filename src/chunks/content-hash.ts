/** Names of chunks. The one place that knows which hash it is. */
import { createRequire } from 'node:module';

interface BlakeHash {
  /** BLAKE3-256 in one call. */
  blake3(input: Buffer): Buffer;
}

// The package is CommonJS with a generated loader: required, so that a worker thread loads it as fast as the main thread does.
const { blake3 } = createRequire(import.meta.url)('@napi-rs/blake-hash') as BlakeHash;

/** BLAKE3-256 as 64 lowercase hex digits. */
export function contentHash(bytes: Uint8Array): string {
  const buffer = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return blake3(buffer).toString('hex');
}
