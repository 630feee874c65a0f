/**
 * AWS Signature Version 4: the canonical form of a request, signing keys, and the chain of signatures over streamed chunks. Pure functions over what was
 * sent; whether a signature is acceptable is decided in authenticate.ts. Signatures are compared in constant time.
 */
import { createHash, createHmac, hash, timingSafeEqual } from 'node:crypto';

import { assert } from '../errors/cairn-error.js';

export const ALGORITHM = 'AWS4-HMAC-SHA256';
const EMPTY_SHA256 = createHash('sha256').digest('hex');
const UNRESERVED = /^[\w.~-]*$/;
const UNRESERVED_OR_SLASH = /^[\w.~/-]*$/;

export interface Scope {
  /** YYYYMMDD */
  readonly date: string;
  readonly region: string;
  readonly service: string;
}

export interface SignedRequest {
  readonly method: string;
  /** As sent. */
  readonly rawPath: string;
  readonly parameters: readonly (readonly [string, string])[];
  readonly headers: ReadonlyMap<string, readonly string[]>;
  readonly signedHeaders: readonly string[];
  readonly payloadHash: string;
}

/** RFC 3986: everything but unreserved characters, in upper-case hex. */
export function uriEncode(text: string, keepSlash: boolean): string {
  if ((keepSlash ? UNRESERVED_OR_SLASH : UNRESERVED).test(text)) return text;
  const encoded = encodeURIComponent(text).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return keepSlash ? encoded.replaceAll('%2F', '/') : encoded;
}

export function canonicalRequest(request: SignedRequest): string {
  const { method, rawPath, parameters, headers, signedHeaders, payloadHash } = request;
  const query = parameters
    .map(([name, value]): [string, string] => [uriEncode(name, false), uriEncode(value, false)])
    .sort(([a, x], [b, y]) => (a < b ? -1 : a > b ? 1 : x < y ? -1 : x > y ? 1 : 0))
    .map(([name, value]) => `${name}=${value}`)
    .join('&');
  const lines = signedHeaders.map((name) => `${name}:${(headers.get(name) ?? []).map(collapsed).join(',')}\n`).join('');
  return `${method}\n${uriEncode(decodeURIComponent(rawPath), true)}\n${query}\n${lines}\n${signedHeaders.join(';')}\n${payloadHash}`;
}

function collapsed(value: string): string {
  return value.trim().replace(/ +/g, ' ');
}

export function stringToSign(timestamp: string, scope: Scope, canonical: string): string {
  return `${ALGORITHM}\n${timestamp}\n${scopeText(scope)}\n${sha256(canonical)}`;
}

function scopeText({ date, region, service }: Scope): string {
  return `${date}/${region}/${service}/aws4_request`;
}

function sha256(text: string): string {
  // A header's bytes travel as latin1, and are signed as they were sent.
  return hash('sha256', isLatin(text) ? Buffer.from(text, 'latin1') : text);
}

const BLOCK_BYTES = 64;
const SHA256_BYTES = 32;

/** A key as RFC 2104 puts it before the text, and before the inner hash. */
interface Padded {
  readonly inner: Buffer;
  /** With room behind it for the inner hash. */
  readonly outer: Buffer;
}

/** Two hashes of one call each cost half of what an Hmac object costs. */
const padded = new WeakMap<Uint8Array, Padded>();

function paddedKey(key: Uint8Array): Padded {
  let pads = padded.get(key);
  if (pads === undefined) {
    assert(key.length <= BLOCK_BYTES, 'a signing key is a SHA-256');
    pads = { inner: Buffer.alloc(BLOCK_BYTES, 0x36), outer: Buffer.alloc(BLOCK_BYTES + SHA256_BYTES, 0x5c) };
    for (const [i, byte] of key.entries()) {
      pads.inner[i]! ^= byte;
      pads.outer[i]! ^= byte;
    }
    padded.set(key, pads);
  }
  return pads;
}

function isLatin(text: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the range of latin1
  return /^[\u0000-\u00ff]*$/.test(text);
}

function hmac(key: string | Uint8Array, text: string): Buffer {
  return createHmac('sha256', key).update(text, 'utf8').digest();
}

const KEYS_KEPT = 1000;

/** Signing keys by secret and scope: four HMACs less per request. */
export class SigningKeys {
  readonly #kept = new Map<string, Buffer>();

  key(secret: string, scope: Scope): Buffer {
    const name = `${secret}\n${scopeText(scope)}`;
    let key = this.#kept.get(name);
    if (key === undefined) {
      key = signingKey(secret, scope);
      if (this.#kept.size >= KEYS_KEPT) this.#kept.clear();
      this.#kept.set(name, key);
    }
    return key;
  }
}

function signingKey(secret: string, { date, region, service }: Scope): Buffer {
  return hmac(hmac(hmac(hmac(`AWS4${secret}`, date), region), service), 'aws4_request');
}

export function signatureOf(key: Uint8Array, text: string): string {
  const { inner, outer } = paddedKey(key);
  outer.write(hash('sha256', Buffer.concat([inner, Buffer.from(text, 'utf8')])), BLOCK_BYTES, 'hex');
  return hash('sha256', outer);
}

/** In constant time for strings of one length. */
export function isSameSignature(a: string, b: string): boolean {
  const left = Buffer.from(a, 'utf8');
  const right = Buffer.from(b, 'utf8');
  return left.length === right.length && timingSafeEqual(left, right);
}

/** The signatures of the chunks of one streamed body, each over the one before. */
export class ChunkSignatures {
  readonly #key: Uint8Array;
  readonly #timestamp: string;
  readonly #scope: string;
  #previous: string;

  constructor(key: Uint8Array, timestamp: string, scope: Scope, seed: string) {
    this.#key = key;
    this.#timestamp = timestamp;
    this.#scope = scopeText(scope);
    this.#previous = seed;
  }

  /** True if it is the signature of the next chunk, whose SHA-256 is given. */
  takeChunk(signature: string, chunkSha256: string): boolean {
    return this.#take(
      signature,
      `AWS4-HMAC-SHA256-PAYLOAD\n${this.#timestamp}\n${this.#scope}\n${this.#previous}\n${EMPTY_SHA256}\n${chunkSha256}`,
    );
  }

  /** True if it is the signature of the trailing headers, whose canonical lines are given. */
  takeTrailer(signature: string, lines: string): boolean {
    return this.#take(
      signature,
      `AWS4-HMAC-SHA256-TRAILER\n${this.#timestamp}\n${this.#scope}\n${this.#previous}\n${sha256(lines)}`,
    );
  }

  #take(signature: string, text: string): boolean {
    const own = signatureOf(this.#key, text);
    this.#previous = own;
    return isSameSignature(own, signature);
  }
}
