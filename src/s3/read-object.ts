/** GET and HEAD of an object: ranges, parts, conditions, headers. A body streams with what one piece takes in memory, as fast as the client reads. */
import { denied, mayAccess } from './access.js';
import type { Bucket } from './bucket-config.js';
import type { Answer, Call, Headers } from './call.js';
import { checksumHeader, checksumType } from './checksums.js';
import { checkRead } from './conditions.js';
import { refuseEncryption } from './encryption.js';
import { keyText } from './key-path.js';
import { partSizes, userMetadata } from './object-attributes.js';
import { expirationHeaders } from './object-end.js';
import type { StoredObject } from './object-store.js';
import { S3Error } from './s3-error.js';
import { NULL_VERSION, versionOf } from './versions.js';

const PIECE_BYTES = 1024 * 1024;
/** What S3 takes is less; clients refuse answers whose headers are long, and the mount sets what it likes. */
const METADATA_BYTES_MAX = 8 * 1024;

/** What `response-…` parameters may replace, by parameter. */
const OVERRIDES: Readonly<Record<string, string>> = {
  'response-content-type': 'content-type',
  'response-content-language': 'content-language',
  'response-expires': 'expires',
  'response-cache-control': 'cache-control',
  'response-content-disposition': 'content-disposition',
  'response-content-encoding': 'content-encoding',
};

interface Span {
  readonly from: number;
  readonly to: number;
}

/** The object that the request names, with its version. NoSuchKey, NoSuchVersion, MethodNotAllowed (a delete marker), AccessDenied. */
export async function findObject(
  call: Call,
  bucket: Bucket,
  wanted: {
    readonly action: string;
    /** The action where a version is named; without it, that of the same name for versions. */
    readonly versionAction?: string;
    readonly writes: boolean;
    /** Of the object's list; without it, no list gives this. */
    readonly permission?: 'READ' | 'READ_ACP' | 'WRITE_ACP' | 'WRITE';
  },
): Promise<StoredObject> {
  const { request, parts } = call;
  const key = request.key!;
  const id = request.query('versionId');
  if (id === '') throw new S3Error('InvalidArgument', 'Version id cannot be the empty string');
  const object =
    id === undefined ? await parts.store.findWritten(bucket, key) : await parts.versions.find(bucket, key, id);
  const action =
    id === undefined ? wanted.action : (wanted.versionAction ?? wanted.action.replace(/Object/, 'ObjectVersion'));
  const target = { key, own: object?.own, isObjectThere: object !== undefined };
  if (object === undefined) return missing(call, bucket, id, action);
  if (
    !mayAccess(
      call,
      bucket,
      {
        action,
        ...(wanted.permission !== undefined && { objectPermission: wanted.permission }),
        writes: wanted.writes,
      },
      target,
    )
  )
    throw denied();
  if (object.own?.isMarker === true)
    throw new S3Error('MethodNotAllowed', 'The specified method is not allowed against this resource.', {
      headers: { 'x-amz-delete-marker': 'true', 'x-amz-version-id': versionOf(object), allow: 'DELETE' },
    });
  return object;
}

/** Whoever may not list the bucket is not told what is not in it. */
async function missing(call: Call, bucket: Bucket, id: string | undefined, action: string): Promise<never> {
  const key = call.request.key!;
  const listing = new Map([['s3:prefix', [keyText(key)]]]);
  const mayList = mayAccess(
    call,
    bucket,
    { action: 's3:ListBucket', bucketPermission: 'READ', writes: false },
    { conditions: listing },
  );
  if (!mayList && !mayAccess(call, bucket, { action, bucketPermission: 'READ', writes: false }, { key }))
    throw denied();
  if (!mayList) throw denied();
  if (id !== undefined)
    throw new S3Error('NoSuchVersion', 'The specified version does not exist.', {
      fields: { VersionId: id.slice(0, 100) },
    });
  const marker = bucket.info.versioning === undefined ? undefined : await call.parts.versions.newest(bucket, key);
  const headers: Record<string, string> =
    marker?.own?.isMarker === true
      ? { 'x-amz-delete-marker': 'true', 'x-amz-version-id': versionOf(marker) }
      : { 'x-amz-delete-marker': 'false' };
  throw new S3Error('NoSuchKey', 'The specified key does not exist.', { headers });
}

export async function getObject(call: Call): Promise<Answer | undefined> {
  return answer(call, true);
}

export async function headObject(call: Call): Promise<Answer | undefined> {
  return answer(call, false);
}

async function answer(call: Call, withBody: boolean): Promise<Answer | undefined> {
  const { request, response, parts } = call;
  refuseEncryption(call);
  const bucket = await parts.store.bucket(request.bucket);
  const object = await findObject(call, bucket, { action: 's3:GetObject', permission: 'READ', writes: false });
  const { node, etag } = object;
  const base = identityHeaders(bucket, object);
  try {
    checkRead(request, { etag, mtime: node.mtime });
  } catch (error) {
    throw error instanceof S3Error && error.code === 'NotModified'
      ? new S3Error('NotModified', error.message, { headers: stringsOf(base) })
      : error;
  }
  const overrides = overridesOf(call);
  const { span, status, more } = spanOf(call, object);
  const length = span.to - span.from;
  const isWhole = status === 200;
  const headers: Headers = { ...base };
  putContentHeaders(headers, object);
  if (!request.has('versionId'))
    Object.assign(
      headers,
      expirationHeaders(bucket, object.key, {
        modifiedMs: node.mtime.sec * 1000,
        sizeBytes: node.sizeBytes,
        tags: object.own?.tags ?? [],
      }),
    );
  if (asksForChecksum(call, object))
    Object.assign(headers, await checksumHeaders(call, object, isWhole ? undefined : span));
  Object.assign(headers, overrides, more);
  headers['accept-ranges'] = 'bytes';
  headers['content-length'] = length;
  if (!isWhole) headers['content-range'] = `bytes ${span.from}-${span.to - 1}/${node.sizeBytes}`;
  if (!withBody || length === 0) return { status, headers };
  const small = await parts.store.tree.small(node);
  response.writeHead(status, { ...call.head, ...clean(headers) });
  if (small === undefined) await stream(call, object, span);
  // As latin1 it goes out with the headers, in one write to the socket.
  else response.end(Buffer.from(small.buffer, small.byteOffset + span.from, length).toString('latin1'), 'latin1');
  return undefined;
}

/** What every answer about an object says of which one it is. */
export function identityHeaders(bucket: Bucket, object: StoredObject): Headers {
  const headers: Headers = {
    etag: `"${object.etag}"`,
    'last-modified': new Date(object.node.mtime.sec * 1000).toUTCString(),
  };
  if (bucket.info.versioning !== undefined || versionOf(object) !== NULL_VERSION)
    headers['x-amz-version-id'] = versionOf(object);
  return headers;
}

function putContentHeaders(headers: Headers, { own, attributes }: StoredObject): void {
  headers['content-type'] = 'binary/octet-stream';
  Object.assign(headers, own?.headers);
  let metadataBytes = 0;
  let missing = 0;
  for (const [name, value] of userMetadata(attributes)) {
    metadataBytes += name.length + value.length;
    if (metadataBytes <= METADATA_BYTES_MAX) headers[`x-amz-meta-${name}`] = value;
    else missing += 1;
  }
  if (missing > 0) headers['x-amz-missing-meta'] = missing;
  if (own?.tags !== undefined && own.tags.length > 0) headers['x-amz-tagging-count'] = own.tags.length;
  if (own?.retention !== undefined) {
    headers['x-amz-object-lock-mode'] = own.retention.mode;
    headers['x-amz-object-lock-retain-until-date'] = own.retention.until;
  }
  if (own?.hasLegalHold !== undefined) headers['x-amz-object-lock-legal-hold'] = own.hasLegalHold ? 'ON' : 'OFF';
}

function asksForChecksum({ request }: Call, { isOwnContent, own }: StoredObject): boolean {
  return (
    isOwnContent && own?.checksum !== undefined && request.header('x-amz-checksum-mode')?.toUpperCase() === 'ENABLED'
  );
}

/** Of the whole object, or of the part that is asked for; another range has none. */
async function checksumHeaders(call: Call, object: StoredObject, span: Span | undefined): Promise<Headers> {
  const { request, parts } = call;
  const checksum = object.own?.checksum;
  if (checksum === undefined) return {};
  const { name } = checksum;
  let { value } = checksum;
  if (span !== undefined) {
    const part = request.number('partNumber', 1, 10_000);
    if (part === undefined) return {};
    // Where there are very many parts only the checksum of the whole is kept.
    if (object.own?.parts !== undefined)
      value = object.own.partChecksums?.[part - 1] ?? (await parts.checksumOf(object, name, span));
  }
  return { [checksumHeader(name)]: value, 'x-amz-checksum-type': checksumType(checksum) };
}

function overridesOf({ request, identity }: Call): Headers {
  const headers: Headers = {};
  if (request.parameters.length === 0) return headers;
  for (const [parameter, header] of Object.entries(OVERRIDES)) {
    const value = request.query(parameter);
    if (value === undefined) continue;
    if (identity.user === undefined)
      throw new S3Error(
        'InvalidRequest',
        'Request specific response headers cannot be used for anonymous GET requests.',
      );
    // biome-ignore lint/suspicious/noControlCharactersInRegex: what no header may carry
    if (/[\x00-\x08\x0a-\x1f\x7f]|[^\x00-\xff]/.test(value))
      throw new S3Error('InvalidArgument', `${parameter} has characters that no header may have.`);
    headers[header] = value;
  }
  return headers;
}

/** Which bytes are asked for. InvalidRange, InvalidPartNumber. */
function spanOf(call: Call, object: StoredObject): { span: Span; status: number; more: Headers } {
  const { request } = call;
  const size = object.node.sizeBytes;
  const range = request.header('range');
  const part = request.number('partNumber', 1, 10_000);
  if (part !== undefined) {
    if (range !== undefined)
      throw new S3Error('InvalidRequest', 'Cannot specify both Range header and partNumber query parameter');
    return partSpan(object, part);
  }
  const span = range === undefined ? undefined : parseRange(range, size);
  if (span === undefined) return { span: { from: 0, to: size }, status: 200, more: {} };
  return { span, status: 206, more: {} };
}

function partSpan(object: StoredObject, part: number): { span: Span; status: number; more: Headers } {
  const size = object.node.sizeBytes;
  const runs = object.isOwnContent ? object.own?.parts : undefined;
  if (runs === undefined) {
    if (part !== 1) throw new S3Error('InvalidPart', 'The requested part number is not satisfiable');
    return { span: { from: 0, to: size }, status: size === 0 ? 200 : 206, more: {} };
  }
  const sizes = partSizes(runs);
  const length = sizes[part - 1];
  if (length === undefined) throw new S3Error('InvalidPart', 'The requested part number is not satisfiable');
  const from = sizes.slice(0, part - 1).reduce((sum, one) => sum + one, 0);
  return { span: { from, to: from + length }, status: 206, more: { 'x-amz-mp-parts-count': sizes.length } };
}

/** One range of bytes. Undefined for what HTTP says to ignore: other units, malformed or several ranges. InvalidRange where nothing of it is there. */
export function parseRange(header: string, size: number): Span | undefined {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header.trim());
  if (match === null || (match[1] === '' && match[2] === '')) return undefined;
  const [, first, last] = match as unknown as [string, string, string];
  let from = first === '' ? Math.max(0, size - Number(last)) : Number(first);
  let to = first === '' || last === '' ? size : Math.min(size, Number(last) + 1);
  if (first !== '' && last !== '' && Number(last) < Number(first)) return undefined;
  if (first === '' && Number(last) === 0) from = to = size;
  if (from >= size)
    throw new S3Error('InvalidRange', 'The requested range is not satisfiable', {
      fields: { RangeRequested: header.slice(0, 100), ActualObjectSize: String(size) },
      headers: { 'content-range': `bytes */${size}` },
    });
  return { from, to };
}

/** Sends the bytes. If they cannot be read, or a write through the mount has changed them meanwhile, the connection ends short: never a wrong byte. */
async function stream(call: Call, object: StoredObject, span: Span): Promise<void> {
  const { response, parts } = call;
  const { tree } = parts.store;
  const { node } = object;
  try {
    await tree.reading(node.ino, async (read) => {
      for (let at = span.from; at < span.to; at += PIECE_BYTES) {
        const pieces = await read(at, Math.min(span.to, at + PIECE_BYTES));
        if (tree.contentOf(node.ino) !== node.contentStage)
          throw new Error('the file was written to while it was being sent');
        for (const piece of pieces) {
          if (response.destroyed) return;
          if (!response.write(piece)) await drained(call);
        }
      }
    });
  } catch (error) {
    // The headers have been sent: an early end is what is left to tell.
    response.destroy();
    throw error;
  }
  response.end();
}

function drained({ response }: Call): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.off('drain', done);
      response.off('close', done);
      resolve();
    };
    response.on('drain', done);
    response.on('close', done);
  });
}

export function clean(headers: Headers): Record<string, string | number | string[]> {
  const out: Record<string, string | number | string[]> = {};
  for (const name in headers) {
    const value = headers[name];
    if (value !== undefined) out[name] = value as string | number | string[];
  }
  return out;
}

function stringsOf(headers: Headers): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]));
}
