/**
 * What S3 keeps of an object beside its bytes: one JSON value in the inode's attribute `cairn.s3.object`, and the user's own metadata in `user.s3.meta.*`,
 * where the mount shows and changes it.
 *
 * ETag, checksum and part sizes are of one content: they count only while the inode is at the content stage, and has the size, that they were written
 * for. So a write through the mount makes them void without touching them.
 */
import * as v from 'valibot';
import { CHECKSUMS } from './checksums.js';

export const OBJECT = 'cairn.s3.object';
/** On a directory that S3 made for a key below it: it goes when its last key does. */
export const IMPLICIT = 'cairn.s3.implicit';
/** The component of a name that is too long for its escape. */
export const LONG_NAME = 'cairn.s3.name';
export const USER_METADATA = 'user.s3.meta.';

const text = v.string();
const Attributes = v.object({
  v: v.literal(1),
  /** Content stage of the row that ETag, checksum and parts belong to. */
  stage: v.number(),
  size: v.number(),
  etag: text,
  checksum: v.optional(v.object({ name: v.picklist(CHECKSUMS), value: text, isComposite: v.optional(v.boolean()) })),
  /** Sizes of the parts as runs [size, count]; not given where it was not made of parts. */
  parts: v.optional(v.array(v.tuple([v.number(), v.number()]))),
  /** Checksums of the parts, in order; only where they are few. */
  partChecksums: v.optional(v.array(text)),
  /** Headers to answer with: lower-case names. */
  headers: v.optional(v.record(text, text)),
  tags: v.optional(v.array(v.tuple([text, text]))),
  owner: v.optional(text),
  acl: v.optional(v.array(v.tuple([text, text]))),
  /** The upload that it was made by: a repeated Complete finds it. */
  upload: v.optional(text),
  /** Its version's id; not given in a bucket without versions. */
  version: v.optional(text),
  /** Newest first among the versions of a key; of a version without an id, which carries its own. */
  order: v.optional(text),
  /** It stands for the object's absence. */
  isMarker: v.optional(v.boolean()),
  retention: v.optional(v.object({ mode: v.picklist(['GOVERNANCE', 'COMPLIANCE']), until: text })),
  hasLegalHold: v.optional(v.boolean()),
});

export type ObjectAttributes = v.InferOutput<typeof Attributes>;

export function encodeAttributes(attributes: ObjectAttributes): Uint8Array {
  return Buffer.from(JSON.stringify(attributes), 'utf8');
}

/** What values in memory say: an inode keeps its values, and most are asked for again. */
const decoded = new WeakMap<Uint8Array, ObjectAttributes | null>();

/** Undefined for what is not one: the object is then as if S3 had never seen it. Nobody changes what is answered. */
export function decodeAttributes(bytes: Uint8Array | undefined): ObjectAttributes | undefined {
  if (bytes === undefined) return undefined;
  let known = decoded.get(bytes);
  if (known === undefined) {
    known = decode(bytes) ?? null;
    decoded.set(bytes, known);
  }
  return known ?? undefined;
}

function decode(bytes: Uint8Array): ObjectAttributes | undefined {
  let json: unknown;
  try {
    json = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8'));
  } catch {
    return undefined;
  }
  if (isSimple(json)) return json;
  const parsed = v.safeParse(Attributes, json);
  return parsed.success ? parsed.output : undefined;
}

const SIMPLE = new Map<string, 'string' | 'number'>([
  ['v', 'number'],
  ['stage', 'number'],
  ['size', 'number'],
  ['etag', 'string'],
  ['owner', 'string'],
  ['order', 'string'],
  ['version', 'string'],
]);

/** What most objects have and no more: told without the schema, which takes longer than the rest of a listing. */
function isSimple(json: unknown): json is ObjectAttributes {
  if (typeof json !== 'object' || json === null) return false;
  const value = json as Partial<Record<string, unknown>>;
  for (const name in value) {
    const one = value[name];
    if (typeof one !== SIMPLE.get(name) && !(name === 'headers' && isTexts(one))) return false;
  }
  return value['v'] === 1 && 'stage' in value && 'size' in value && 'etag' in value;
}

function isTexts(value: unknown): boolean {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  return Object.values(value).every((one) => typeof one === 'string');
}

/** The user's metadata among an inode's attributes: names without prefix, values as header text (latin1). */
export function userMetadata(attributes: ReadonlyMap<string, Uint8Array>): [name: string, value: string][] {
  const metadata: [string, string][] = [];
  for (const [name, value] of attributes) {
    if (!name.startsWith(USER_METADATA)) continue;
    const own = name.slice(USER_METADATA.length);
    // What no header can carry was set through the mount, and stays there.
    const header = Buffer.from(value).toString('latin1');
    // biome-ignore lint/suspicious/noControlCharactersInRegex: what no header may carry
    if (/^[!#$%&'*+.^_`|~0-9a-zA-Z-]+$/.test(own) && !/[\x00-\x08\x0a-\x1f\x7f]/.test(header))
      metadata.push([own, header]);
  }
  return metadata.sort(([a], [b]) => (a < b ? -1 : 1));
}

export function partSizes(runs: readonly (readonly [number, number])[]): number[] {
  return runs.flatMap(([size, count]) => new Array<number>(count).fill(size));
}

export function partRuns(sizes: readonly number[]): [number, number][] {
  const runs: [number, number][] = [];
  for (const size of sizes) {
    const last = runs.at(-1);
    if (last !== undefined && last[0] === size) last[1] += 1;
    else runs.push([size, 1]);
  }
  return runs;
}
