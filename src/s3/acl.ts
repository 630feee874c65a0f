/**
 * Access control lists as grants: who may do what. Clients mostly set them by canned names, which stand for lists; what is kept is the list.
 */

import { S3Error } from './s3-error.js';
import type { S3Request } from './s3-request.js';
import type { S3User, UserTable } from './users.js';
import { document, element, escapeXml, malformed, type XmlElement } from './xml.js';

/** `id:` and a user's id, or a group. */
type Grantee = string;
const EVERYBODY = 'all';
const SIGNED_IN = 'auth';
const PERMISSIONS = ['READ', 'WRITE', 'READ_ACP', 'WRITE_ACP', 'FULL_CONTROL'] as const;
export type AclPermission = (typeof PERMISSIONS)[number];
export type Grant = readonly [grantee: Grantee, permission: string];

const GROUPS = 'http://acs.amazonaws.com/groups/';
const GROUP_URIS: Readonly<Record<string, Grantee>> = {
  [`${GROUPS}global/AllUsers`]: EVERYBODY,
  [`${GROUPS}global/AuthenticatedUsers`]: SIGNED_IN,
};
const LOG_DELIVERY = 'log';

export function ownerOf(id: string | undefined, users: UserTable): { id: string; name: string } {
  const user = id === undefined ? users.first : users.byId(id);
  return { id: user?.id ?? id ?? 'cairn', name: user?.name ?? '' };
}

/** The grants of a canned list. InvalidArgument for a name that is none. */
export function cannedGrants(name: string, owner: string, bucketOwner: string): Grant[] {
  const own: Grant = [`id:${owner}`, 'FULL_CONTROL'];
  switch (name) {
    case 'private':
      return [own];
    case 'public-read':
      return [[EVERYBODY, 'READ'], own];
    case 'public-read-write':
      return [[EVERYBODY, 'READ'], [EVERYBODY, 'WRITE'], own];
    case 'authenticated-read':
      return [[SIGNED_IN, 'READ'], own];
    case 'bucket-owner-read':
      return owner === bucketOwner ? [own] : [own, [`id:${bucketOwner}`, 'READ']];
    case 'bucket-owner-full-control':
      return owner === bucketOwner ? [own] : [own, [`id:${bucketOwner}`, 'FULL_CONTROL']];
    case 'log-delivery-write':
      return [own, [LOG_DELIVERY, 'WRITE'], [LOG_DELIVERY, 'READ_ACP']];
    case 'aws-exec-read':
      return [own];
    default:
      throw new S3Error('InvalidArgument', 'The canned ACL is not one.', {
        fields: { ArgumentName: 'x-amz-acl', ArgumentValue: name.slice(0, 100) },
      });
  }
}

/** What the request's headers say; undefined if nothing. */
export function grantsFromHeaders(
  request: S3Request,
  owner: string,
  bucketOwner: string,
  users: UserTable,
): Grant[] | undefined {
  const canned = request.header('x-amz-acl');
  const explicit: Grant[] = [];
  for (const permission of PERMISSIONS) {
    const header = request.header(`x-amz-grant-${permission.toLowerCase().replace('_', '-')}`);
    if (header === undefined) continue;
    for (const part of header.split(',')) explicit.push([granteeFrom(part.trim(), users), permission]);
  }
  if (canned !== undefined && explicit.length > 0)
    throw new S3Error('InvalidRequest', 'Specifying both Canned ACLs and Header Grants is not allowed');
  if (canned !== undefined) return cannedGrants(canned, owner, bucketOwner);
  return explicit.length === 0 ? undefined : explicit;
}

function granteeFrom(text: string, users: UserTable): Grantee {
  const match = /^(id|uri|emailAddress)="?([^"]*)"?$/i.exec(text);
  const value = match?.[2] ?? '';
  switch (match?.[1]?.toLowerCase()) {
    case 'id':
      return knownUser(users.byId(value));
    case 'uri':
      return group(value);
    case 'emailaddress':
      return byEmail(value, users);
    default:
      throw new S3Error('InvalidArgument', 'A grant must be id=, uri= or emailAddress=.');
  }
}

function byEmail(email: string, users: UserTable): Grantee {
  const user = users.byEmail(email);
  if (user === undefined)
    throw new S3Error(
      'UnresolvableGrantByEmailAddress',
      'The e-mail address you provided does not match any account on record.',
    );
  return `id:${user.id}`;
}

function knownUser(user: S3User | undefined): Grantee {
  if (user === undefined) throw new S3Error('InvalidArgument', 'Invalid id');
  return `id:${user.id}`;
}

function group(uri: string): Grantee {
  const found = Object.hasOwn(GROUP_URIS, uri) ? GROUP_URIS[uri] : undefined;
  if (found === undefined) throw new S3Error('InvalidArgument', 'Invalid group uri');
  return found;
}

/** The grants of an AccessControlPolicy. MalformedACLError, InvalidArgument. */
export function grantsFromXml(
  root: XmlElement,
  users: UserTable,
): { readonly owner: string; readonly grants: Grant[] } {
  const owner = root.need('Owner').textOf('ID')?.trim() ?? '';
  const grants: Grant[] = [];
  for (const grant of root.need('AccessControlList').all('Grant')) {
    const grantee = grant.need('Grantee');
    const permission = grant.need('Permission').text.trim();
    if (!PERMISSIONS.some((known) => known === permission))
      throw new S3Error('MalformedACLError', 'The permission is not one.');
    const id = grantee.textOf('ID')?.trim();
    const uri = grantee.textOf('URI')?.trim();
    const email = grantee.textOf('EmailAddress')?.trim();
    if (id !== undefined) grants.push([knownUser(users.byId(id)), permission]);
    else if (uri !== undefined) grants.push([group(uri), permission]);
    else if (email !== undefined) grants.push([byEmail(email, users), permission]);
    else throw malformed('A grantee is nobody.');
  }
  return { owner, grants };
}

export function aclXml(owner: { id: string; name: string }, grants: readonly Grant[], users: UserTable): string {
  // Groups come first: so do others, and clients that compare lists rely on it.
  const groups = grants.filter(([grantee]) => !grantee.startsWith('id:'));
  const single = grants.filter(([grantee]) => grantee.startsWith('id:'));
  const list = [...groups, ...single].map(
    ([grantee, permission]) => `<Grant>${granteeXml(grantee, users)}${element('Permission', permission)}</Grant>`,
  );
  return document(
    'AccessControlPolicy',
    `<Owner>${element('ID', owner.id)}${element('DisplayName', owner.name)}</Owner><AccessControlList>${list.join('')}</AccessControlList>`,
  );
}

function granteeXml(grantee: Grantee, users: UserTable): string {
  const type = (name: string) => `<Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="${name}">`;
  if (grantee.startsWith('id:')) {
    const id = grantee.slice(3);
    return `${type('CanonicalUser')}${element('ID', id)}${element('DisplayName', users.byId(id)?.name ?? '')}</Grantee>`;
  }
  const uri = Object.entries(GROUP_URIS).find(([, name]) => name === grantee)?.[0] ?? `${GROUPS}s3/LogDelivery`;
  return `${type('Group')}<URI>${escapeXml(uri)}</URI></Grantee>`;
}

/** True if a grant gives `permission` to the user (undefined: anonymous). */
export function isGranted(grants: readonly Grant[], user: S3User | undefined, permission: AclPermission): boolean {
  return grants.some(
    ([grantee, given]) =>
      (given === permission || given === 'FULL_CONTROL') &&
      (grantee === EVERYBODY || (user !== undefined && (grantee === SIGNED_IN || grantee === `id:${user.id}`))),
  );
}

/** True if it gives anything to everybody, or to everybody who has a key. */
export function isPublicList(grants: readonly Grant[]): boolean {
  return grants.some(([grantee]) => grantee === EVERYBODY || grantee === SIGNED_IN);
}
