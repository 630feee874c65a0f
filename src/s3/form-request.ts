/** A form's fields as the headers that a PUT of the same object would have, so that all that reads a PUT reads them. */
import { FREE_FIELDS } from './form-policy.js';
import { keyOf } from './key-path.js';
import { S3Error } from './s3-error.js';
import { checkKey, S3Request } from './s3-request.js';

/** Fields that are no headers of the object. */
const OWN_FIELDS: ReadonlySet<string> = new Set([
  ...FREE_FIELDS,
  'acl',
  'bucket',
  'key',
  'redirect',
  'success_action_redirect',
  'success_action_status',
  'tagging',
]);

export class FormRequest extends S3Request {
  override readonly bucket: string;
  override readonly key: string;
  override readonly headers: ReadonlyMap<string, readonly string[]>;

  /** KeyTooLongError, InvalidArgument (what no header can carry). */
  constructor(request: S3Request, keyText: string, fields: ReadonlyMap<string, string>) {
    super(request.http, request.id, undefined);
    this.bucket = request.bucket;
    this.key = keyOf(keyText);
    checkKey(this.key);
    const headers = new Map<string, readonly string[]>();
    for (const name of ['host', 'origin', 'referer', 'user-agent', 'x-amz-expected-bucket-owner']) {
      const values = request.headers.get(name);
      if (values !== undefined) headers.set(name, values);
    }
    for (const [name, value] of fields) {
      if (OWN_FIELDS.has(name) || name.startsWith('x-ignore-')) continue;
      headers.set(name, [headerText(name, value)]);
    }
    const acl = fields.get('acl');
    if (acl !== undefined) headers.set('x-amz-acl', [headerText('acl', acl)]);
    this.headers = headers;
  }
}

/** Text beyond ASCII travels in headers as UTF-8, one character per byte. */
function headerText(name: string, value: string): string {
  const text = Buffer.from(value, 'utf8').toString('latin1').trim();
  if (!/^[\t\x20-\x7e\x80-\xff]*$/.test(text) || !/^[!#$%&'*+.^_`|~0-9a-z-]+$/.test(name))
    throw new S3Error('InvalidArgument', 'A field of the form has characters that no header can carry.', {
      fields: { ArgumentName: name.slice(0, 100) },
    });
  return text;
}
