/** What S3 keeps of a bucket: one JSON value per subject in attributes `cairn.s3.bucket.*` of its directory. A directory without them is a bucket that was made through the mount. */
import * as v from 'valibot';

const PREFIX = 'cairn.s3.bucket.';
const text = v.string();

const Info = v.object({
  owner: v.optional(text),
  createdMs: v.optional(v.number()),
  versioning: v.optional(v.picklist(['Enabled', 'Suspended'])),
  objectLock: v.optional(v.boolean()),
  /** No object beside a directory of its name: `a` and `a/b` exclude each other. */
  strictKeys: v.optional(v.boolean()),
  ownership: v.optional(v.picklist(['BucketOwnerEnforced', 'BucketOwnerPreferred', 'ObjectWriter'])),
  location: v.optional(text),
});

export type BucketInfo = v.InferOutput<typeof Info>;

/** Subjects that are kept as JSON of their own. */
export type BucketSubject = 'info' | 'acl' | 'policy' | 'cors' | 'lifecycle' | 'tags' | 'lock' | 'public-access';

export interface Bucket {
  readonly name: string;
  readonly ino: number;
  readonly uid: number;
  readonly gid: number;
  readonly info: BucketInfo;
  readonly attributes: ReadonlyMap<string, Uint8Array>;
  /** When it was made, in milliseconds. */
  readonly createdMs: number;
}

export function subjectName(subject: BucketSubject): string {
  return PREFIX + subject;
}

/** What values in memory say: every request asks for the same ones again. */
const parsedInfos = new WeakMap<Uint8Array, BucketInfo>();
const parsedSubjects = new WeakMap<Uint8Array, { readonly value: unknown }>();

export function readInfo(attributes: ReadonlyMap<string, Uint8Array>): BucketInfo {
  const bytes = attributes.get(subjectName('info'));
  if (bytes === undefined) return {};
  let info = parsedInfos.get(bytes);
  if (info === undefined) {
    const parsed = v.safeParse(Info, readSubject(attributes, 'info'));
    info = parsed.success ? parsed.output : {};
    parsedInfos.set(bytes, info);
  }
  return info;
}

/** Undefined if it is not there, or not JSON. Nobody changes what is answered. */
export function readSubject(attributes: ReadonlyMap<string, Uint8Array>, subject: BucketSubject): unknown {
  const bytes = attributes.get(subjectName(subject));
  if (bytes === undefined) return undefined;
  let parsed = parsedSubjects.get(bytes);
  if (parsed === undefined) {
    parsed = { value: parseJson(bytes) };
    parsedSubjects.set(bytes, parsed);
  }
  return parsed.value;
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    return undefined;
  }
}

export function writeSubject(subject: BucketSubject, value: unknown): [string, Uint8Array] {
  return [subjectName(subject), Buffer.from(JSON.stringify(value), 'utf8')];
}

/** As AWS takes them: 3 to 63 lower-case letters, digits, dots and hyphens, that do not look like an address. */
export function isBucketName(name: string): boolean {
  return (
    /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(name) &&
    !name.includes('..') &&
    !name.includes('.-') &&
    !name.includes('-.') &&
    !/^\d{1,3}(\.\d{1,3}){3}$/.test(name)
  );
}
