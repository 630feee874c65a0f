/** Uploads by POST of a form, as browsers send them: who has signed the form's policy is the sender, and the policy bounds what may come. */
import { createHash } from 'node:crypto';
import type { Bucket } from './bucket-config.js';
import { type Answer, type Call, type Headers, xmlAnswer } from './call.js';
import { checksumHeader, newChecksum } from './checksums.js';
import { checkWrite } from './conditions.js';
import { boundaryOf, type Form, type FormFile, readForm } from './form-data.js';
import { checkForm, type FormPermission, formKey } from './form-policy.js';
import { FormRequest } from './form-request.js';
import { keyText } from './key-path.js';
import { expirationHeaders } from './object-end.js';
import { lockForNewObject } from './object-lock.js';
import { saidChecksum } from './receive-body.js';
import { S3Error } from './s3-error.js';
import { OBJECT_TAGS_MAX, readTagging } from './tagging.js';
import {
  keptHeaders,
  locationOf,
  metadataOf,
  newGrants,
  ownAttributes,
  requestTags,
  requireNewObject,
} from './write-object.js';
import { element } from './xml.js';

export async function postObject(call: Call): Promise<Answer> {
  const { request, parts } = call;
  const boundary = boundaryOf(request.header('content-type'));
  const bucket = await parts.store.bucket(request.bucket);
  const body = request.body();
  try {
    return await storeForm(call, bucket, await readForm(body, boundary));
  } finally {
    // Whoever answers reads what is left of the body, and could not while it is being iterated.
    await body.return?.();
  }
}

async function storeForm(call: Call, bucket: Bucket, { fields, file }: Form): Promise<Answer> {
  const { request, parts } = call;
  const text = formKey(fields, file.name);
  const permission = checkForm(new Map(fields).set('key', text), {
    bucket: bucket.name,
    region: parts.region,
    nowMs: parts.clock.nowMs(),
    keys: parts.signingKeys,
    secretOf: (accessKey) => parts.users.byAccessKey(accessKey)?.secretKey,
  });
  const user = permission.accessKey === undefined ? undefined : parts.users.byAccessKey(permission.accessKey);
  const form = new FormRequest(request, text, fields);
  const sender: Call = { ...call, request: form, identity: { ...call.identity, user } };
  const tagging = fields.get('tagging');
  const tags = tagging === undefined ? [] : readTagging(Buffer.from(tagging, 'utf8'), OBJECT_TAGS_MAX);
  const { key } = form;
  requireNewObject(sender, bucket, key, requestTags(tags));
  const metadata = metadataOf(sender);
  const grants = newGrants(sender, bucket);
  const lock = lockForNewObject(sender, bucket);
  const asked = await parts.store.chunkPolicy(bucket, key);
  const { content, etag, checksum } = await receiveFile(sender, file, permission, asked);
  const own = ownAttributes(sender, bucket, { etag, headers: keptHeaders(sender), grants, tags, checksum, lock });
  const made = { content, own, metadata };
  const { version } = await parts.writes.put(bucket, key, made, (present) => checkWrite(form, present));
  const now = { modifiedMs: parts.clock.nowMs(), sizeBytes: content.sizeBytes, tags };
  const location = locationOf(call, bucket, key);
  const headers: Headers = {
    etag: `"${etag}"`,
    location,
    'x-amz-version-id': version,
    ...(checksum !== undefined && { [checksumHeader(checksum.name)]: checksum.value }),
    ...expirationHeaders(bucket, key, now),
  };
  return answerFor(fields, bucket.name, keyText(key), etag, headers);
}

function answerFor(
  fields: ReadonlyMap<string, string>,
  bucket: string,
  key: string,
  etag: string,
  headers: Headers,
): Answer {
  const redirect = redirectTo(fields.get('success_action_redirect') ?? fields.get('redirect'), bucket, key, etag);
  if (redirect !== undefined) return { status: 303, headers: { ...headers, location: redirect } };
  switch (fields.get('success_action_status')) {
    case '200':
      return { status: 200, headers };
    case '201': {
      const location = element('Location', String(headers['location']));
      const text = `${location}${element('Bucket', bucket)}${element('Key', key)}${element('ETag', `"${etag}"`)}`;
      // The one document of S3 without a namespace.
      const body = `<?xml version="1.0" encoding="UTF-8"?>\n<PostResponse>${text}</PostResponse>`;
      return { ...xmlAnswer(body, headers), status: 201 };
    }
    default:
      return { status: 204, headers };
  }
}

/** Undefined if it is not given, or no address to send a browser to. */
function redirectTo(text: string | undefined, bucket: string, key: string, etag: string): string | undefined {
  if (text === undefined || !/^https?:/i.test(text) || !URL.canParse(text)) return undefined;
  const address = new URL(text);
  const more = `bucket=${encodeURIComponent(bucket)}&key=${encodeURIComponent(key)}&etag=%22${etag}%22`;
  address.search = address.search === '' ? `?${more}` : `${address.search}&${more}`;
  return address.href;
}

/** The file's bytes, in the pool. EntityTooLarge, EntityTooSmall, BadDigest, InvalidRequest. */
async function receiveFile(
  { request, parts }: Call,
  file: FormFile,
  { minBytes, maxBytes }: FormPermission,
  asked: Parameters<Call['parts']['store']['tree']['writer']>[2],
) {
  const said = saidChecksum(request);
  const running = said === undefined ? undefined : newChecksum(said.name);
  const writer = parts.store.tree.writer(undefined, undefined, asked);
  const md5 = createHash('md5');
  try {
    for await (const bytes of file.bytes) {
      if (writer.sizeBytes + bytes.length > maxBytes)
        throw new S3Error('EntityTooLarge', 'Your proposed upload exceeds the maximum allowed size', {
          fields: { MaxSizeAllowed: String(maxBytes) },
        });
      md5.update(bytes);
      running?.update(bytes);
      await writer.write(bytes);
    }
    if (writer.sizeBytes < minBytes)
      throw new S3Error('EntityTooSmall', 'Your proposed upload is smaller than the minimum allowed size', {
        fields: { ProposedSize: String(writer.sizeBytes), MinSizeAllowed: String(minBytes) },
      });
    const value = running?.digest().toString('base64');
    if (said?.value !== undefined && said.value !== value)
      throw new S3Error('BadDigest', `The ${said.name} you specified did not match the calculated checksum.`);
    const checksum = said === undefined || value === undefined ? undefined : { name: said.name, value };
    return { content: await writer.finish(), etag: md5.digest('hex'), checksum };
  } catch (error) {
    await writer.discard();
    throw error;
  }
}
