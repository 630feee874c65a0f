/**
 * Whether a form's upload may be: its signature (version 4, and version 2 as forms still carry it), and its policy document, which must speak of every
 * field and of the bucket, and say when it ends and how much may come.
 */
import { createHmac } from 'node:crypto';
import { S3Error } from './s3-error.js';
import { ALGORITHM, isSameSignature, type SigningKeys, signatureOf } from './signature-v4.js';

const POST_BYTES_MAX = 5 * 1024 ** 3;

export interface FormContext {
  readonly bucket: string;
  readonly region: string;
  readonly nowMs: number;
  readonly keys: SigningKeys;
  secretOf(accessKey: string): string | undefined;
}

export interface FormPermission {
  /** Who has signed the form; undefined: nobody. */
  readonly accessKey: string | undefined;
  readonly minBytes: number;
  readonly maxBytes: number;
}

/** The form's key, with the file's name where it says `${filename}`. InvalidArgument, KeyTooLongError is the caller's. */
export function formKey(fields: ReadonlyMap<string, string>, fileName: string): string {
  const key = fields.get('key');
  if (key === undefined || key === '')
    throw new S3Error(
      'InvalidArgument',
      "Bucket POST must contain a field named 'key'.  If it is specified, please check the order of the fields.",
      {
        fields: { ArgumentName: 'key', ArgumentValue: '' },
      },
    );
  // Browsers have sent whole paths.
  return key.replaceAll(/\$\{filename\}/g, () =>
    fileName.slice(Math.max(fileName.lastIndexOf('/'), fileName.lastIndexOf('\\')) + 1),
  );
}

/** `fields`: with `key` as `formKey` gives it. InvalidArgument, InvalidPolicyDocument, InvalidAccessKeyId, SignatureDoesNotMatch, AccessDenied. */
export function checkForm(fields: ReadonlyMap<string, string>, context: FormContext): FormPermission {
  const policy = fields.get('policy');
  if (policy === undefined) {
    for (const name of ['signature', 'x-amz-signature', 'awsaccesskeyid', 'x-amz-credential'])
      if (fields.has(name)) throw missing('policy');
    return { accessKey: undefined, minBytes: 0, maxBytes: POST_BYTES_MAX };
  }
  const accessKey = checkSignature(policy, fields, context);
  return { accessKey, ...checkPolicy(policy, fields, context) };
}

function checkSignature(policy: string, fields: ReadonlyMap<string, string>, context: FormContext): string {
  const need = (name: string): string => {
    const value = fields.get(name);
    if (value === undefined || value === '') throw missing(name);
    return value;
  };
  const isOld = !fields.has('x-amz-signature') && !fields.has('x-amz-algorithm') && !fields.has('x-amz-credential');
  if (isOld) {
    const accessKey = need('awsaccesskeyid');
    const signature = need('signature');
    const secret = secretFor(accessKey, context);
    const own = createHmac('sha1', secret).update(policy, 'utf8').digest('base64');
    if (!isSameSignature(own, signature)) throw mismatch(accessKey);
    return accessKey;
  }
  if (need('x-amz-algorithm') !== ALGORITHM)
    throw new S3Error('InvalidArgument', `X-Amz-Algorithm only supports "${ALGORITHM}"`, {
      fields: { ArgumentName: 'X-Amz-Algorithm' },
    });
  const date = need('x-amz-date');
  const [accessKey, day, region, service, terminator, ...more] = need('x-amz-credential').split('/');
  const isScope = service === 's3' && terminator === 'aws4_request' && more.length === 0;
  if (accessKey === undefined || day === undefined || region === undefined || !isScope || !/^\d{8}T\d{6}Z$/.test(date))
    throw new S3Error('InvalidArgument', 'The form has no valid X-Amz-Credential and X-Amz-Date.');
  if (!date.startsWith(day) || (region !== context.region && region !== 'us-east-1'))
    throw new S3Error('InvalidArgument', `The Credential is not of this date and region ('${context.region}').`);
  const signature = need('x-amz-signature');
  const key = context.keys.key(secretFor(accessKey, context), { date: day, region, service });
  if (!isSameSignature(signatureOf(key, policy), signature)) throw mismatch(accessKey);
  return accessKey;
}

function secretFor(accessKey: string, context: FormContext): string {
  const secret = context.secretOf(accessKey);
  if (secret === undefined)
    throw new S3Error('InvalidAccessKeyId', 'The AWS Access Key Id you provided does not exist in our records.', {
      fields: { AWSAccessKeyId: accessKey.slice(0, 128) },
    });
  return secret;
}

function mismatch(accessKey: string): S3Error {
  return new S3Error(
    'SignatureDoesNotMatch',
    'The request signature we calculated does not match the signature you provided. Check your key and signing method.',
    { fields: { AWSAccessKeyId: accessKey.slice(0, 128) } },
  );
}

/** Fields that the policy need not speak of. */
export const FREE_FIELDS: ReadonlySet<string> = new Set([
  'awsaccesskeyid',
  'signature',
  'x-amz-signature',
  'policy',
  'file',
]);

function checkPolicy(
  encoded: string,
  fields: ReadonlyMap<string, string>,
  { bucket, nowMs }: FormContext,
): { minBytes: number; maxBytes: number } {
  const document = readDocument(encoded);
  if (document.expiresMs <= nowMs) throw refused('Policy expired.');
  // What the address says counts, not what the form claims.
  const values = new Map(fields).set('bucket', bucket);
  const spokenOf = new Set<string>();
  let minBytes = 0;
  let maxBytes = POST_BYTES_MAX;
  for (const condition of document.conditions) {
    if (condition.kind === 'range') {
      minBytes = Math.max(minBytes, condition.from);
      maxBytes = Math.min(maxBytes, condition.to);
      continue;
    }
    const { kind, field, text } = condition;
    spokenOf.add(field);
    const value = values.get(field);
    if (value === undefined || !meets(kind, field, value, text))
      throw refused(`Policy Condition failed: ["${kind}", "$${field.slice(0, 100)}", "${text.slice(0, 200)}"]`);
  }
  for (const name of values.keys()) {
    if (
      spokenOf.has(name) ||
      FREE_FIELDS.has(name) ||
      name.startsWith('x-ignore-') ||
      name.startsWith('x-amz-checksum-')
    )
      continue;
    throw refused(`Extra input fields: ${name.slice(0, 100)}`);
  }
  return { minBytes, maxBytes };
}

function meets(kind: 'eq' | 'starts-with', field: string, value: string, text: string): boolean {
  if (kind === 'eq') return value === text;
  // A list of types must begin so in each.
  if (field === 'content-type') return value.split(',').every((one) => one.trim().startsWith(text));
  return value.startsWith(text);
}

type FormCondition =
  | { readonly kind: 'eq' | 'starts-with'; readonly field: string; readonly text: string }
  | { readonly kind: 'range'; readonly from: number; readonly to: number };

/** The document in base64. InvalidPolicyDocument. */
function readDocument(encoded: string): { expiresMs: number; conditions: FormCondition[] } {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(Buffer.from(encoded, 'base64')));
  } catch (cause) {
    throw invalid('Invalid JSON.', cause);
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw invalid('Invalid JSON.');
  const { expiration, conditions } = json as { expiration?: unknown; conditions?: unknown };
  if (expiration === undefined) throw invalid('Policy missing expiration.');
  const isDate = typeof expiration === 'string' && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/.test(expiration);
  const expiresMs = isDate ? Date.parse(expiration) : Number.NaN;
  if (Number.isNaN(expiresMs)) throw invalid("Invalid 'expiration' value.");
  if (!Array.isArray(conditions)) throw invalid('Policy missing conditions.');
  return { expiresMs, conditions: conditions.flatMap(readCondition) };
}

function readCondition(json: unknown): FormCondition[] {
  if (Array.isArray(json)) {
    const [operator, first, second] = json as unknown[];
    const kind = typeof operator === 'string' ? operator.toLowerCase() : '';
    if (json.length !== 3) throw invalid('Invalid Condition: a condition has three elements.');
    if (kind === 'content-length-range') {
      const [from, to] = [wholeOf(first), wholeOf(second)];
      if (from === undefined || to === undefined || from > to) throw invalid('Invalid content-length-range.');
      return [{ kind: 'range', from, to }];
    }
    if (kind !== 'eq' && kind !== 'starts-with') throw invalid('Invalid Condition: unknown operation.');
    if (typeof first !== 'string' || !first.startsWith('$') || typeof second !== 'string')
      throw invalid('Invalid Condition: it needs a field with a dollar sign and a text.');
    return [{ kind, field: first.slice(1).toLowerCase(), text: second }];
  }
  if (typeof json !== 'object' || json === null) throw invalid('Invalid Condition.');
  const entries = Object.entries(json);
  const [entry] = entries;
  if (entry === undefined || entries.length !== 1)
    throw invalid('Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.');
  if (typeof entry[1] !== 'string') throw invalid('Invalid Simple-Condition: value must be a string.');
  return [{ kind: 'eq', field: entry[0].toLowerCase(), text: entry[1] }];
}

function wholeOf(value: unknown): number | undefined {
  const number = typeof value === 'string' && /^\d{1,15}$/.test(value) ? Number(value) : value;
  return typeof number === 'number' && Number.isSafeInteger(number) && number >= 0 ? number : undefined;
}

function invalid(message: string, cause?: unknown): S3Error {
  return new S3Error('InvalidPolicyDocument', `Invalid Policy: ${message}`, cause === undefined ? {} : { cause });
}

function refused(message: string): S3Error {
  return new S3Error('AccessDenied', `Invalid according to Policy: ${message}`);
}

function missing(name: string): S3Error {
  return new S3Error(
    'InvalidArgument',
    `Bucket POST must contain a field named '${name}'.  If it is specified, please check the order of the fields.`,
    {
      fields: { ArgumentName: name, ArgumentValue: '' },
    },
  );
}
