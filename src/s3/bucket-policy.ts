/** A bucket's policy as it is kept: its text, read anew (and remembered) by whoever asks. */
import { type Bucket, readSubject } from './bucket-config.js';
import { keyText } from './key-path.js';
import { type PolicyDocument, readPolicy } from './policy-document.js';
import { evaluatePolicy as evaluate, isPublicPolicy } from './policy-evaluation.js';
import { S3Error } from './s3-error.js';
import type { S3User } from './users.js';

export interface Policy {
  /** As it was set. */
  readonly text: string;
  readonly document: PolicyDocument;
}

/** What stands for a kept policy that cannot be read: nobody gets in but the owner, who can replace it. */
const DENY_ALL: PolicyDocument = {
  statements: [
    {
      isDeny: true,
      principals: { isNegated: false, patterns: ['*'] },
      actions: { isNegated: false, patterns: ['*'] },
      resources: { isNegated: false, patterns: ['*'] },
      conditions: [],
    },
  ],
  hasVariables: false,
};

const KEPT_MAX = 1000;
const kept = new Map<string, PolicyDocument>();

export function policyOf(bucket: Bucket): Policy | undefined {
  const text = (readSubject(bucket.attributes, 'policy') as { readonly text: string } | undefined)?.text;
  if (text === undefined) return undefined;
  let document = kept.get(text);
  if (document === undefined) {
    document = readKept(text);
    if (kept.size >= KEPT_MAX) kept.clear();
    kept.set(text, document);
  }
  return { text, document };
}

/** It was checked when it was set; the bucket may have another name by now, and what was set before the name is then of no bucket. */
function readKept(text: string): PolicyDocument {
  try {
    return readPolicy(Buffer.from(text, 'utf8'), undefined);
  } catch (error) {
    if (error instanceof S3Error) return DENY_ALL;
    throw error;
  }
}

/** MalformedPolicy. */
export function parsePolicy(bytes: Uint8Array, bucketName: string): Policy {
  return { document: readPolicy(bytes, bucketName), text: Buffer.from(bytes).toString('utf8') };
}

export interface PolicyQuestion {
  readonly user: S3User | undefined;
  readonly action: string;
  readonly bucket: string;
  readonly key: string | undefined;
  readonly conditions: ReadonlyMap<string, readonly string[]>;
}

export function evaluatePolicy({ document }: Policy, question: PolicyQuestion): 'allow' | 'deny' | 'neutral' {
  const { user, action, bucket, key, conditions } = question;
  const resource = key === undefined ? bucket : `${bucket}/${keyText(key)}`;
  return evaluate(document, { user, action, resource, values: (name) => conditions.get(name) }) ?? 'neutral';
}

/** True if it lets everybody in without a condition that narrows who that is. */
export function isPublic({ document }: Policy): boolean {
  return isPublicPolicy(document);
}
