/** The policy of a form upload: what whoever signed it allows the form to say. Its signature is version 4, or version 2 as forms once had it. */
import { createHmac } from 'node:crypto';
import { denied } from './access.js';
import { S3Error } from './s3-error.js';
import { ALGORITHM, isSameSignature, type SigningKeys, signatureOf } from './signature-v4.js';
import type { S3User, UserTable } from './users.js';

type Fields = ReadonlyMap<string, string>;

/** Fields that no condition need name. */
const FREE = new Set(['file', 'policy', 'signature', 'awsaccesskeyid', 'x-amz-signature', 'submit']);

/** Who signed the form's policy; undefined for a form without one. */
export function signerOf(fields: Fields, users: UserTable, keys: SigningKeys): S3User | undefined {
  const policy = fields.get('policy');
  const isV4 = fields.has('x-amz-signature') || fields.has('x-amz-credential');
  const isV2 = fields.has('signature') || fields.has('awsaccesskeyid');
  if (policy === undefined) {
    if (isV4 || isV2) throw new S3Error('InvalidArgument', "Bucket POST must contain a field named 'policy'.");
    return undefined;
  }
  const need = (name: string): string => {
    const value = fields.get(name);
    if (value === undefined || value === '')
      throw new S3Error(
        'InvalidArgument',
        `Bucket POST must contain a field named '${name}'.  If it is specified, please check the order of the fields.`,
      );
    return value;
  };
  if (isV4) {
    if (need('x-amz-algorithm') !== ALGORITHM)
      throw new S3Error('InvalidArgument', 'The algorithm must be AWS4-HMAC-SHA256.');
    const [accessKey = '', date = '', region = '', service = '', end] = need('x-amz-credential').split('/');
    if (end !== 'aws4_request' || service !== 's3')
      throw new S3Error('InvalidArgument', 'The credential of the form is malformed.');
    const user = users.byAccessKey(accessKey);
    const key = keys.key(user?.secretKey ?? 'nobody has this one', { date, region, service });
    return accepted(user, accessKey, isSameSignature(signatureOf(key, policy), need('x-amz-signature')));
  }
  const accessKey = need('awsaccesskeyid');
  const user = users.byAccessKey(accessKey);
  const own = createHmac('sha1', user?.secretKey ?? 'nobody has this one')
    .update(policy)
    .digest('base64');
  return accepted(user, accessKey, isSameSignature(own, need('signature')));
}

function accepted(user: S3User | undefined, accessKey: string, isRight: boolean): S3User {
  if (user === undefined)
    throw new S3Error('InvalidAccessKeyId', 'The AWS Access Key Id you provided does not exist in our records.', {
      fields: { AWSAccessKeyId: accessKey.slice(0, 128) },
    });
  if (!isRight)
    throw new S3Error(
      'SignatureDoesNotMatch',
      'The request signature we calculated does not match the signature you provided. Check your key and signing method.',
    );
  return user;
}

/** How many bytes the file may have. */
export interface FileBounds {
  readonly min: number;
  readonly max: number;
}

/** InvalidPolicyDocument, AccessDenied. */
export function checkPolicy(fields: Fields, bucket: string, nowMs: number): FileBounds {
  const policy = parse(fields.get('policy')!);
  const expires = Date.parse(String(policy['expiration']));
  if (policy['expiration'] === undefined || !Number.isFinite(expires)) throw invalid('Policy missing expiration.');
  if (expires <= nowMs) throw denied();
  const conditions = policy['conditions'];
  if (!Array.isArray(conditions) || conditions.length === 0) throw invalid('Policy missing conditions.');
  const named = new Set<string>();
  let bounds: FileBounds = { min: 0, max: Number.MAX_SAFE_INTEGER };
  const fieldOf = (name: string): string | undefined => (name === 'bucket' ? bucket : fields.get(name));
  for (const condition of conditions as unknown[]) {
    if (Array.isArray(condition)) {
      const [operator, subject, value] = condition as unknown[];
      if (condition.length !== 3 || typeof operator !== 'string') throw invalid('A condition must have three parts.');
      if (operator.toLowerCase() === 'content-length-range') {
        const [min, max] = [Number(subject), Number(value)];
        if (!Number.isInteger(min) || !Number.isInteger(max) || min < 0) throw invalid('The range of lengths is none.');
        bounds = { min, max };
        continue;
      }
      if (typeof subject !== 'string' || typeof value !== 'string' || !subject.startsWith('$'))
        throw invalid('A condition is none.');
      const name = subject.slice(1).toLowerCase();
      named.add(name);
      const found = fieldOf(name);
      const kind = operator.toLowerCase();
      if (kind !== 'eq' && kind !== 'starts-with') throw invalid('The operator of a condition is none.');
      const isMet = found !== undefined && (kind === 'eq' ? found === value : found.startsWith(value));
      if (!isMet) throw refused(JSON.stringify(condition));
      continue;
    }
    if (typeof condition !== 'object' || condition === null || Object.keys(condition).length !== 1)
      throw invalid('A condition is none.');
    const [key, value] = Object.entries(condition)[0]!;
    if (typeof value !== 'string') throw invalid('The value of a condition is no text.');
    named.add(key.toLowerCase());
    if (fieldOf(key.toLowerCase()) !== value) throw refused(JSON.stringify(condition));
  }
  for (const name of fields.keys())
    if (!named.has(name) && !FREE.has(name) && !name.startsWith('x-ignore-'))
      throw new S3Error('AccessDenied', `Invalid according to Policy: Extra input fields: ${name.slice(0, 100)}`);
  return bounds;
}

function parse(text: string): Record<string, unknown> {
  try {
    const json: unknown = JSON.parse(Buffer.from(text, 'base64').toString('utf8'));
    if (typeof json === 'object' && json !== null && !Array.isArray(json)) return json as Record<string, unknown>;
  } catch {
    // Told below.
  }
  throw invalid('Policy is no JSON.');
}

function invalid(message: string): S3Error {
  return new S3Error('InvalidPolicyDocument', `Invalid Policy: ${message}`);
}

function refused(condition: string): S3Error {
  return new S3Error(
    'AccessDenied',
    `Invalid according to Policy: Policy Condition failed: ${condition.slice(0, 300)}`,
  );
}
