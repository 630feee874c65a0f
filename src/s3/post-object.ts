/** An upload by a browser's form: POST of multipart/form-data to a bucket. */
import { createHash } from 'node:crypto';
import { bucketOwner, requireAccess } from './access.js';
import { cannedGrants } from './acl.js';
import { type Answer, type Call, type Headers, xmlAnswer } from './call.js';
import { CHECKSUMS, checksumHeader, newChecksum } from './checksums.js';
import { FormBody } from './form-body.js';
import { keyOf, keyText } from './key-path.js';
import { lockForNewObject } from './object-lock.js';
import { OBJECT_TAGS_MAX, tagsFromXml } from './object-tags.js';
import { checkPolicy, signerOf } from './post-policy.js';
import { OBJECT_BYTES_MAX } from './receive-body.js';
import { S3Error } from './s3-error.js';
import { checkKey } from './s3-request.js';
import { uriEncode } from './signature-v4.js';
import { requestTags } from './write-object.js';
import { document, element, readXml } from './xml.js';

const KEPT = [
  'content-type',
  'cache-control',
  'content-disposition',
  'content-encoding',
  'expires',
  'x-amz-website-redirect-location',
];

export async function postObject(call: Call): Promise<Answer> {
  const { request, parts } = call;
  const bucket = await parts.store.bucket(request.bucket);
  const form = new FormBody(request.http, request.header('content-type'));
  const { fields, file } = await form.fields();
  const user = signerOf(fields, parts.users, parts.keys);
  const signed: Call = {
    ...call,
    identity: { ...call.identity, user, kind: user === undefined ? 'anonymous' : 'header' },
  };
  const bounds =
    user === undefined ? { min: 0, max: OBJECT_BYTES_MAX } : checkPolicy(fields, bucket.name, parts.clock.nowMs());
  const template = fields.get('key');
  if (template === undefined || template === '')
    throw new S3Error(
      'InvalidArgument',
      "Bucket POST must contain a field named 'key'.  If it is specified, please check the order of the fields.",
    );
  // biome-ignore lint/suspicious/noTemplateCurlyInString: what a form says for the file's name
  const key = keyOf(template.replaceAll('${filename}', file.fileName));
  checkKey(key);
  const tagging = fields.get('tagging');
  const tags = tagging === undefined ? [] : tagsFromXml(readXml(Buffer.from(tagging), 'Tagging'), OBJECT_TAGS_MAX);
  requireAccess(
    signed,
    bucket,
    { action: 's3:PutObject', bucketPermission: 'WRITE', writes: true },
    { key, conditions: requestTags(tags) },
  );
  const owner = user?.id ?? bucketOwner(call, bucket);
  const acl = fields.get('acl');
  const grants = acl === undefined ? undefined : cannedGrants(acl, owner, bucketOwner(call, bucket));
  const headers: Record<string, string> = {};
  for (const name of KEPT) {
    const value = fields.get(name);
    if (value !== undefined && value !== '') headers[name] = Buffer.from(value, 'utf8').toString('latin1');
  }
  if (headers['content-type'] === undefined && file.contentType !== undefined)
    headers['content-type'] = file.contentType;
  const metadata = [...fields]
    .filter(([name]) => name.startsWith('x-amz-meta-'))
    .map(([name, value]): [string, string] => [
      name.slice('x-amz-meta-'.length),
      Buffer.from(value, 'utf8').toString('latin1'),
    ]);
  const { content, etag, checksum } = await receive(signed, form, fields, bounds);
  const own = {
    etag,
    headers,
    owner,
    ...(grants !== undefined && {
      acl: grants.map(([grantee, permission]): [string, string] => [grantee, permission]),
    }),
    ...(tags.length > 0 && { tags }),
    ...(checksum !== undefined && { checksum }),
    ...lockForNewObject(signed, bucket),
  };
  const { version } = await parts.writes.put(bucket, key, { content, own, metadata }, () => {});
  return success(call, fields, key, etag, version);
}

async function receive(
  call: Call,
  form: FormBody,
  fields: ReadonlyMap<string, string>,
  bounds: { min: number; max: number },
) {
  const writer = call.parts.store.tree.writer();
  const md5 = createHash('md5');
  const name = CHECKSUMS.find((one) => fields.has(checksumHeader(one)));
  const running = name === undefined ? undefined : newChecksum(name);
  try {
    for await (const bytes of form.file()) {
      if (writer.sizeBytes + bytes.length > Math.min(bounds.max, OBJECT_BYTES_MAX))
        throw new S3Error('EntityTooLarge', 'Your proposed upload exceeds the maximum allowed size');
      md5.update(bytes);
      running?.update(bytes);
      const wait = writer.write(bytes);
      if (wait !== undefined) await wait;
    }
    if (writer.sizeBytes < bounds.min)
      throw new S3Error('EntityTooSmall', 'Your proposed upload is smaller than the minimum allowed size');
    const value = running?.digest().toString('base64');
    if (name !== undefined && value !== fields.get(checksumHeader(name)))
      throw new S3Error('BadDigest', `The ${name} you specified did not match the calculated checksum.`);
    const checksum = name === undefined || value === undefined ? undefined : { name, value };
    return { content: await writer.finish(), etag: md5.digest('hex'), checksum };
  } catch (error) {
    await writer.discard();
    throw error;
  }
}

function success(
  call: Call,
  fields: ReadonlyMap<string, string>,
  key: string,
  etag: string,
  version: string | undefined,
): Answer {
  const { request } = call;
  const text = keyText(key);
  const location = `http://${request.header('host') ?? ''}/${request.bucket}/${uriEncode(text, true)}`;
  const headers: Headers = { etag: `"${etag}"`, location, 'x-amz-version-id': version };
  const redirect = fields.get('success_action_redirect') ?? fields.get('redirect');
  if (redirect !== undefined && URL.canParse(redirect) && /^https?:/i.test(redirect)) {
    const query = `bucket=${uriEncode(request.bucket, false)}&key=${uriEncode(text, false)}&etag=%22${etag}%22`;
    return {
      status: 303,
      headers: { ...headers, location: `${redirect}${redirect.includes('?') ? '&' : '?'}${query}` },
    };
  }
  const wanted = fields.get('success_action_status');
  if (wanted === '200') return { status: 200, headers };
  if (wanted !== '201') return { status: 204, headers };
  const body = document(
    'PostResponse',
    `${element('Location', location)}${element('Bucket', request.bucket)}${element('Key', text)}<ETag>&quot;${etag}&quot;</ETag>`,
  );
  return { ...xmlAnswer(body, headers), status: 201 };
}
