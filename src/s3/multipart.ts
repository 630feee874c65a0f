/** Multipart uploads: create, part, part copy, complete, abort, and their lists. Completing writes extents only. */
import { randomBytes } from 'node:crypto';
import type { ExtentRow } from '../meta/rows.js';
import { NO_CONTENT } from '../vfs/content-writer.js';
import { cutExtents } from '../vfs/cut-extents.js';
import type { NameChange, NewFile } from '../vfs/publisher.js';
import { requireAccess, type Wanted, WRITE_OBJECT } from './access.js';
import { ownerOf } from './acl.js';
import type { Bucket } from './bucket-config.js';
import { ownerXml } from './buckets.js';
import { type Answer, type Call, type Headers, NO_CONTENT_ANSWER, xmlAnswer } from './call.js';
import {
  CHECKSUMS,
  type ChecksumName,
  checksumHeader,
  checksumNamed,
  checksumType,
  combineCrc,
  isLinear,
  newChecksum,
} from './checksums.js';
import { checkWrite } from './conditions.js';
import { keyText } from './key-path.js';
import { groupOf, isoTime, keyEncoder } from './list-objects.js';
import { encodeAttributes, OBJECT, type ObjectAttributes, partRuns } from './object-attributes.js';
import { lockForNewObject } from './object-lock.js';
import { FILE_MODE, type StoredObject } from './object-store.js';
import { parseRange } from './read-object.js';
import { OBJECT_BYTES_MAX, receiveDocument, receiveObject } from './receive-body.js';
import { S3Error } from './s3-error.js';
import { parseTagHeader } from './tagging.js';
import { type Part, UPLOAD, type Upload, type UploadStart } from './uploads.js';
import { writtenVersion } from './versions.js';
import {
  checksumXml,
  copySource,
  etagOfParts,
  keptHeaders,
  locationOf,
  metadataOf,
  newGrants,
  newOwner,
  ownAttributes,
  refuseNotOffered,
  requestTags,
  requireNewObject,
  untilSourceStands,
} from './write-object.js';
import { document, element, malformed, readXml, type XmlElement } from './xml.js';

const PART_BYTES_MIN = 5 * 1024 * 1024;
const PARTS_MAX = 10_000;
const DOCUMENT_BYTES_MAX = 4 * 1024 * 1024;
const WHOLE_BYTES_MAX = 5 * 1024 ** 4;
/** Checksums of more parts than this are not kept one by one. */
const PART_CHECKSUMS_MAX = 500;

export async function createUpload(call: Call): Promise<Answer> {
  const { request, parts } = call;
  const bucket = await parts.store.bucket(request.bucket);
  const key = request.key!;
  const tags = parseTagHeader(request.header('x-amz-tagging'));
  requireNewObject(call, bucket, key, requestTags(tags));
  const grants = newGrants(call, bucket);
  const checksum = checksumPlan(call);
  const owner = newOwner(call, bucket);
  const start: UploadStart = {
    key,
    own: ownAttributes(call, bucket, {
      etag: '',
      headers: keptHeaders(call),
      grants,
      tags,
      lock: lockForNewObject(call, bucket),
    }),
    metadata: metadataOf(call),
    initiatedMs: parts.clock.nowMs(),
    initiator: owner,
    ...(checksum !== undefined && { checksum }),
  };
  const { order } = parts.versions.newVersion(parts.clock.nowMs());
  const id = order + randomBytes(4).toString('hex');
  const file: NewFile = {
    mode: FILE_MODE,
    uid: bucket.uid,
    gid: bucket.gid,
    content: NO_CONTENT,
    attributes: () => new Map([[UPLOAD, Buffer.from(JSON.stringify(start), 'utf8')]]),
  };
  await parts.store.tree.publish(async () => [
    { parent: (await parts.uploads.directory(bucket, true))!, name: id, expected: undefined, to: file },
  ]);
  const headers: Headers =
    checksum === undefined
      ? {}
      : {
          'x-amz-checksum-algorithm': checksum.name,
          'x-amz-checksum-type': checksumType(checksum),
        };
  return xmlAnswer(
    document(
      'InitiateMultipartUploadResult',
      `${element('Bucket', bucket.name)}${element('Key', keyText(key))}${element('UploadId', id)}`,
    ),
    headers,
  );
}

function checksumPlan({ request }: Call): UploadStart['checksum'] {
  const named = request.header('x-amz-checksum-algorithm');
  const type = request.header('x-amz-checksum-type');
  if (named === undefined) {
    if (type !== undefined)
      throw new S3Error(
        'InvalidRequest',
        'The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.',
      );
    return undefined;
  }
  const name = checksumNamed(named);
  if (name === undefined) throw new S3Error('InvalidRequest', 'Checksum algorithm provided is unsupported.');
  const isComposite = type === undefined ? name !== 'CRC64NVME' : type === 'COMPOSITE';
  if ((isComposite && name === 'CRC64NVME') || (!isComposite && !isLinear(name)))
    throw new S3Error(
      'InvalidRequest',
      `The ${checksumType({ isComposite })} checksum type cannot be used with the ${name.toLowerCase()} checksum algorithm.`,
    );
  return { name, isComposite };
}

/** The request's bucket, where the sender may do this with the request's key. NoSuchBucket, AccessDenied. */
async function bucketFor(call: Call, wanted: Wanted): Promise<Bucket> {
  const bucket = await call.parts.store.bucket(call.request.bucket);
  requireAccess(call, bucket, wanted, { key: call.request.key });
  return bucket;
}

async function findUpload(call: Call, bucket: Bucket): Promise<Upload> {
  const { request, parts } = call;
  const upload = await parts.uploads.find(bucket, request.key!, request.query('uploadId') ?? '');
  if (upload === undefined) throw noSuchUpload(call);
  return upload;
}

function noSuchUpload({ request }: Call): S3Error {
  return new S3Error(
    'NoSuchUpload',
    'The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.',
    {
      fields: { UploadId: (request.query('uploadId') ?? '').slice(0, 100) },
    },
  );
}

function partNumber(call: Call): number {
  const number = call.request.number('partNumber', 1, PARTS_MAX);
  if (number === undefined)
    throw new S3Error('InvalidArgument', `Part number must be an integer between 1 and ${PARTS_MAX}, inclusive`);
  return number;
}

export async function uploadPart(call: Call): Promise<Answer> {
  const { request, parts, identity } = call;
  const bucket = await bucketFor(call, WRITE_OBJECT);
  refuseNotOffered(call);
  const number = partNumber(call);
  const upload = await findUpload(call, bucket);
  const asked = await parts.store.chunkPolicy(bucket, upload.key);
  const { content, md5, checksum } = await receiveObject(request, identity.payload, parts.store.tree, asked);
  const etag = md5.toString('hex');
  if (checksum !== undefined && upload.checksum !== undefined && checksum.name !== upload.checksum.name) {
    parts.store.tree.discard(content);
    throw new S3Error(
      'InvalidRequest',
      `Checksum Type mismatch occurred, expected checksum Type: ${upload.checksum.name.toLowerCase()}, actual checksum Type: ${checksum.name.toLowerCase()}`,
    );
  }
  await putPart(call, upload, number, { etag, ...(checksum !== undefined && { checksum }) }, { content });
  const headers: Headers = { etag: `"${etag}"` };
  if (checksum !== undefined) headers[checksumHeader(checksum.name)] = checksum.value;
  return { status: 200, headers };
}

async function putPart(
  call: Call,
  upload: Upload,
  number: number,
  own: Pick<ObjectAttributes, 'etag' | 'checksum'>,
  from: Pick<NewFile, 'content' | 'sources'>,
): Promise<void> {
  const { tree } = call.parts.store;
  const name = call.parts.uploads.partName(upload.id, number);
  const file: NewFile = {
    ...from,
    mode: FILE_MODE,
    uid: upload.node.uid,
    gid: upload.node.gid,
    attributes: (stage) => new Map([[OBJECT, encodeAttributes({ ...own, v: 1, stage, size: from.content.sizeBytes })]]),
  };
  await tree.publish(
    async () => {
      if ((await tree.child(upload.directory, upload.id)) === undefined) throw noSuchUpload(call);
      const there = await tree.child(upload.directory, name);
      return [{ parent: upload.directory, name, expected: there?.ino, to: file }];
    },
    from.sources === undefined ? [from.content] : [],
  );
}

export function uploadPartCopy(call: Call): Promise<Answer> {
  return untilSourceStands(() => copyPartOnce(call));
}

async function copyPartOnce(call: Call): Promise<Answer> {
  const { request, parts } = call;
  const bucket = await bucketFor(call, WRITE_OBJECT);
  const number = partNumber(call);
  const upload = await findUpload(call, bucket);
  const { object, version } = await copySource(call);
  const { sizeBytes, ino, ctime } = object.node;
  const header = request.header('x-amz-copy-source-range');
  const span = header === undefined ? { from: 0, to: sizeBytes } : copyRange(header, sizeBytes);
  if (span.to - span.from > OBJECT_BYTES_MAX)
    throw new S3Error(
      'InvalidRequest',
      'The specified copy source is larger than the maximum allowable size for a copy source.',
    );
  const extents = cutExtents(await parts.store.tree.extents(ino), span.from, span.to, -span.from);
  // The ETag of a part is the MD5 of its bytes: of a whole object that was one part it is known.
  const isWhole = span.from === 0 && span.to === sizeBytes && /^[0-9a-f]{32}$/.test(object.etag);
  const name = upload.checksum?.name;
  const etag = isWhole ? object.etag : await parts.md5Of(object, span);
  const checksum = name === undefined ? undefined : { name, value: await parts.checksumOf(object, name, span) };
  const content = { sizeBytes: span.to - span.from, extents, tail: new Uint8Array(0) };
  const sources = [{ ino, version: object.node.version, ctime }];
  await putPart(call, upload, number, { etag, ...(checksum !== undefined && { checksum }) }, { content, sources });
  const sum = checksum === undefined ? '' : element(`Checksum${checksum.name}`, checksum.value);
  return xmlAnswer(
    document(
      'CopyPartResult',
      `${element('LastModified', new Date(parts.clock.nowMs()).toISOString())}<ETag>&quot;${etag}&quot;</ETag>${sum}`,
    ),
    { 'x-amz-copy-source-version-id': version },
  );
}

function copyRange(header: string, size: number): { from: number; to: number } {
  const match = /^bytes=(\d+)-(\d+)$/.exec(header);
  if (match === null || Number(match[1]) > Number(match[2]))
    throw new S3Error(
      'InvalidArgument',
      'The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy',
      { fields: { ArgumentName: 'x-amz-copy-source-range', ArgumentValue: header.slice(0, 100) } },
    );
  if (Number(match[2]) >= size)
    throw new S3Error('InvalidRange', 'Range specified is not valid for source object', { status: 416 });
  return parseRange(header, size) ?? { from: 0, to: size };
}

export async function completeUpload(call: Call): Promise<Answer> {
  const { request, parts, identity } = call;
  const bucket = await bucketFor(call, WRITE_OBJECT);
  const key = request.key!;
  // A checksum in the headers is the whole object's: wholeChecksum compares it.
  const body = await receiveDocument(request, { ...identity.payload }, DOCUMENT_BYTES_MAX, false);
  const listed = readXml(body, 'CompleteMultipartUpload').all('Part');
  const upload = await parts.uploads.find(bucket, key, request.query('uploadId') ?? '');
  if (upload === undefined) return completedBefore(call, bucket);
  if (listed.length === 0) throw malformed('There must be at least one part.');
  const chosen = await chooseParts(call, upload, listed);
  const sizeBytes = chosen.reduce((sum, { object }) => sum + object.node.sizeBytes, 0);
  const said = request.header('x-amz-mp-object-size');
  if (said !== undefined && Number(said) !== sizeBytes)
    throw new S3Error('InvalidRequest', "The provided 'x-amz-mp-object-size' header does not match what was computed.");
  if (sizeBytes > WHOLE_BYTES_MAX)
    throw new S3Error('EntityTooLarge', 'Your proposed upload exceeds the maximum allowed object size.');
  const etag = etagOfParts(chosen.map(({ object }) => object.etag));
  const checksum = wholeChecksum(call, upload, chosen);
  const extents: ExtentRow[] = [];
  const sources: NonNullable<NewFile['sources']>[number][] = [];
  let offset = 0;
  for (const { object } of chosen) {
    const { ino, version, ctime, sizeBytes: length } = object.node;
    for (const extent of await parts.store.tree.extents(ino))
      extents.push({ ...extent, offset: extent.offset + offset });
    sources.push({ ino, version, ctime });
    offset += length;
  }
  const partSums = chosen.map(({ object }) => object.own?.checksum?.value ?? '');
  const own = {
    ...upload.own,
    etag,
    upload: upload.id,
    parts: partRuns(chosen.map(({ object }) => object.node.sizeBytes)),
    ...(checksum !== undefined && { checksum }),
    ...(checksum !== undefined && chosen.length <= PART_CHECKSUMS_MAX && { partChecksums: partSums }),
  };
  const also = async (): Promise<NameChange[]> => {
    const there = await parts.store.tree.child(upload.directory, upload.id);
    if (there === undefined) throw noSuchUpload(call);
    return [{ parent: upload.directory, name: upload.id, expected: there.ino, to: undefined }];
  };
  const content = { sizeBytes, extents, tail: new Uint8Array(0) };
  const object = { content, sources, own, metadata: upload.metadata, also };
  const { version } = await parts.writes.put(bucket, key, object, (present) => checkWrite(request, present));
  await parts.uploads.removeParts(upload);
  return completed(call, bucket, etag, version, checksum);
}

function completed(
  call: Call,
  bucket: Bucket,
  etag: string,
  version: string | undefined,
  checksum: ObjectAttributes['checksum'],
): Answer {
  const { request } = call;
  const location = locationOf(call, bucket, request.key!);
  return xmlAnswer(
    document(
      'CompleteMultipartUploadResult',
      `${element('Location', location)}${element('Bucket', bucket.name)}${element('Key', keyText(request.key!))}<ETag>&quot;${etag}&quot;</ETag>${checksumXml(checksum)}`,
    ),
    { 'x-amz-version-id': writtenVersion(version) },
  );
}

/** A Complete that comes once more, because its answer was lost, succeeds as long as its object stands. */
async function completedBefore(call: Call, bucket: Bucket): Promise<Answer> {
  const { request, parts } = call;
  const present = await parts.store.find(bucket, request.key!);
  if (present?.own?.upload === undefined || present.own.upload !== request.query('uploadId')) throw noSuchUpload(call);
  return completed(call, bucket, present.etag, present.own.version, present.own.checksum);
}

function partNumberOf(part: XmlElement): number {
  return Number(part.need('PartNumber').text.trim());
}

/** InvalidPart, InvalidPartOrder, EntityTooSmall. */
async function chooseParts(call: Call, upload: Upload, listed: readonly XmlElement[]): Promise<Part[]> {
  const chosen: Part[] = [];
  let last = 0;
  for (const [i, element] of listed.entries()) {
    const number = partNumberOf(element);
    if (!Number.isInteger(number) || number < 1) throw malformed('A part has no number.');
    if (number < last)
      throw new S3Error(
        'InvalidPartOrder',
        'The list of parts was not in ascending order. Parts must be ordered by part number.',
      );
    last = number;
    // A client that has sent a part twice may list both answers: the part is what was sent last, which the last one must name.
    const next = listed[i + 1];
    if (next !== undefined && partNumberOf(next) === number) continue;
    const etag = element.need('ETag').text.trim().replaceAll('"', '');
    const object = number > PARTS_MAX ? undefined : await call.parts.uploads.part(upload, number);
    const invalid = new S3Error(
      'InvalidPart',
      "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.",
      {
        fields: { UploadId: upload.id, PartNumber: String(number), ETag: etag.slice(0, 100) },
      },
    );
    if (object === undefined || object.etag !== etag) throw invalid;
    for (const name of CHECKSUMS) {
      const said = element.textOf(`Checksum${name}`)?.trim();
      if (said !== undefined && said !== object.own?.checksum?.value) throw invalid;
    }
    const before = chosen.at(-1);
    if (before !== undefined && before.object.node.sizeBytes < PART_BYTES_MIN)
      throw new S3Error('EntityTooSmall', 'Your proposed upload is smaller than the minimum allowed size', {
        fields: {
          PartNumber: String(before.number),
          ProposedSize: String(before.object.node.sizeBytes),
          MinSizeAllowed: String(PART_BYTES_MIN),
        },
      });
    chosen.push({ number, object });
  }
  return chosen;
}

/** The checksum of the whole from those of the parts. BadDigest if the client says another. */
function wholeChecksum({ request }: Call, upload: Upload, chosen: readonly Part[]): ObjectAttributes['checksum'] {
  const values = chosen.map(({ object }) => object.own?.checksum);
  const name: ChecksumName | undefined = upload.checksum?.name ?? values[0]?.name;
  if (name === undefined || !values.every((one) => one?.name === name)) return undefined;
  const isComposite = upload.checksum?.isComposite ?? name !== 'CRC64NVME';
  const bytes = values.map((one) => Buffer.from(one!.value, 'base64'));
  let value: string;
  if (isComposite) value = `${compositeOf(name, bytes)}-${chosen.length}`;
  else {
    const parts = bytes.map((part, i) => ({ value: part, length: chosen[i]!.object.node.sizeBytes }));
    value = combineCrc(name as 'CRC32', parts).toString('base64');
  }
  const said = request.header(checksumHeader(name));
  if (said !== undefined && said !== value && said !== value.replace(/-\d+$/, ''))
    throw new S3Error('BadDigest', `The ${name} you specified did not match the calculated checksum.`);
  return { name, value, ...(isComposite && { isComposite }) };
}

function compositeOf(name: ChecksumName, parts: readonly Buffer[]): string {
  const running = newChecksum(name);
  for (const part of parts) running.update(part);
  return running.digest().toString('base64');
}

export async function abortUpload(call: Call): Promise<Answer> {
  const { parts } = call;
  const bucket = await bucketFor(call, { action: 's3:AbortMultipartUpload', bucketPermission: 'WRITE', writes: true });
  const upload = await findUpload(call, bucket);
  await parts.uploads.abort(upload);
  return NO_CONTENT_ANSWER;
}

export async function listParts(call: Call): Promise<Answer> {
  const { request, parts } = call;
  const bucket = await bucketFor(call, {
    action: 's3:ListMultipartUploadParts',
    bucketPermission: 'READ',
    writes: false,
  });
  const upload = await findUpload(call, bucket);
  const after = request.number('part-number-marker', 0, 2 ** 31) ?? 0;
  const limit = Math.min(1000, request.number('max-parts', 0, 2 ** 31 - 1) ?? 1000);
  let xml = '';
  let count = 0;
  let last = after;
  let isTruncated = false;
  for await (const { number, object } of parts.uploads.parts(upload, after)) {
    if (count === limit) {
      isTruncated = true;
      break;
    }
    count += 1;
    last = number;
    xml += partXml(number, object);
  }
  const { key, initiator, checksum } = upload;
  const initiated = ownerOf(initiator, parts.users);
  return xmlAnswer(
    document(
      'ListPartsResult',
      `${element('Bucket', bucket.name)}${element('Key', keyText(key))}${element('UploadId', upload.id)}<Initiator>${element('ID', initiated.id)}${element('DisplayName', initiated.name)}</Initiator>${ownerXml(call, initiator)}<StorageClass>STANDARD</StorageClass>${element('PartNumberMarker', after)}${element('NextPartNumberMarker', last)}${element('MaxParts', limit)}${element('IsTruncated', isTruncated)}${element('ChecksumAlgorithm', checksum?.name)}${element('ChecksumType', checksum && checksumType(checksum))}${xml}`,
    ),
  );
}

function partXml(number: number, { node, etag, own }: StoredObject): string {
  const checksum = own?.checksum;
  return `<Part>${element('PartNumber', number)}${element('LastModified', isoTime(node.mtime))}<ETag>&quot;${etag}&quot;</ETag>${element('Size', node.sizeBytes)}${checksum === undefined ? '' : element(`Checksum${checksum.name}`, checksum.value)}</Part>`;
}

export async function listUploads(call: Call): Promise<Answer> {
  const { request, parts } = call;
  const bucket = await parts.store.bucket(request.bucket);
  requireAccess(call, bucket, { action: 's3:ListBucketMultipartUploads', bucketPermission: 'READ', writes: false });
  const { encode, type } = keyEncoder(call);
  const binary = (name: string) => Buffer.from(request.query(name) ?? '', 'utf8').toString('latin1');
  const prefix = binary('prefix');
  const delimiter = binary('delimiter');
  const keyMarker = binary('key-marker');
  const idMarker = request.query('upload-id-marker') ?? '';
  const limit = Math.min(1000, request.number('max-uploads', 0, 2 ** 31 - 1) ?? 1000);
  const all: Upload[] = [];
  for await (const upload of parts.uploads.all(bucket)) if (upload.key.startsWith(prefix)) all.push(upload);
  // Ids sort newest first; S3 lists the oldest first.
  all.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : a.id > b.id ? -1 : 1));
  const uploads: string[] = [];
  const prefixes = new Set<string>();
  let lastKey = '';
  let lastId = '';
  let isTruncated = false;
  for (const upload of all) {
    const isPassed =
      upload.key < keyMarker ||
      (upload.key === keyMarker && (idMarker === '' || keyMarker === '' || upload.id >= idMarker));
    if (keyMarker !== '' && isPassed) continue;
    const group = delimiter === '' ? undefined : groupOf(upload.key, prefix, delimiter);
    if (group !== undefined && (prefixes.has(group) || group === keyMarker)) continue;
    if (uploads.length + prefixes.size === limit) {
      isTruncated = true;
      break;
    }
    lastKey = group ?? upload.key;
    lastId = group === undefined ? upload.id : '';
    if (group !== undefined) {
      prefixes.add(group);
      continue;
    }
    const initiator = ownerOf(upload.initiator, parts.users);
    uploads.push(
      `<Upload><Key>${encode(upload.key)}</Key>${element('UploadId', upload.id)}<Initiator>${element('ID', initiator.id)}${element('DisplayName', initiator.name)}</Initiator>${ownerXml(call, upload.initiator)}<StorageClass>STANDARD</StorageClass>${element('Initiated', new Date(upload.initiatedMs).toISOString())}</Upload>`,
    );
  }
  const head = [
    element('Bucket', bucket.name),
    `<KeyMarker>${encode(keyMarker)}</KeyMarker>`,
    element('UploadIdMarker', idMarker),
    isTruncated ? `<NextKeyMarker>${encode(lastKey)}</NextKeyMarker>${element('NextUploadIdMarker', lastId)}` : '',
    `<Prefix>${encode(prefix)}</Prefix>`,
    delimiter === '' ? '' : `<Delimiter>${encode(delimiter)}</Delimiter>`,
    element('EncodingType', type),
    element('MaxUploads', limit),
    element('IsTruncated', isTruncated),
  ];
  const groups = [...prefixes].map((one) => `<CommonPrefixes><Prefix>${encode(one)}</Prefix></CommonPrefixes>`);
  return xmlAnswer(document('ListMultipartUploadsResult', head.join('') + uploads.join('') + groups.join('')));
}
