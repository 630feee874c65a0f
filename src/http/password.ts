/** The password of `[web]`: kept as a scrypt hash (RFC 7914), `scrypt$N$r$p$SALT$HASH` with salt and hash in base64url. */
import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto';

const COST = 32_768;
const BLOCK = 8;
const LANES = 1;
const SALT_BYTES = 16;
const HASH_BYTES = 32;
/** Whoever wrote cairn.toml may have chosen other costs, but none that would exhaust the daemon. */
const MEMORY_BYTES_MAX = 128 * 1024 * 1024;

const HASH = /^scrypt\$(\d{1,7})\$(\d{1,2})\$(\d{1,2})\$([A-Za-z0-9_-]{8,128})\$([A-Za-z0-9_-]{22,172})$/;

interface Parsed {
  readonly N: number;
  readonly r: number;
  readonly p: number;
  readonly salt: Buffer;
  readonly hash: Buffer;
}

function parsed(text: string): Parsed | undefined {
  const match = HASH.exec(text);
  if (match === null) return undefined;
  const [N, r, p] = [Number(match[1]), Number(match[2]), Number(match[3])];
  const isPossible = N > 1 && (N & (N - 1)) === 0 && r > 0 && p > 0 && 128 * N * r * p <= MEMORY_BYTES_MAX;
  if (!isPossible) return undefined;
  return { N, r, p, salt: Buffer.from(match[4]!, 'base64url'), hash: Buffer.from(match[5]!, 'base64url') };
}

export function isPasswordHash(text: string): boolean {
  return parsed(text) !== undefined;
}

function derive(
  password: string,
  salt: Buffer,
  bytes: number,
  { N, r, p }: Omit<Parsed, 'salt' | 'hash'>,
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    scrypt(password.normalize('NFC'), salt, bytes, { N, r, p, maxmem: 2 * MEMORY_BYTES_MAX }, (error, key) =>
      error === null ? resolve(key) : reject(error),
    );
  });
}

export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(SALT_BYTES);
  const hash = await derive(password, salt, HASH_BYTES, { N: COST, r: BLOCK, p: LANES });
  return `scrypt$${COST}$${BLOCK}$${LANES}$${salt.toString('base64url')}$${hash.toString('base64url')}`;
}

/** `hash` is one that `isPasswordHash` takes. Costs some 50 ms of a thread. */
export async function isPassword(password: string, hash: string): Promise<boolean> {
  const known = parsed(hash);
  if (known === undefined) return false;
  return timingSafeEqual(await derive(password, known.salt, known.hash.length, known), known.hash);
}
