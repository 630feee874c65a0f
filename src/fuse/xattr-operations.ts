/**
 * Extended attributes. A size of 0 asks how large the answer would be; one that is too small gets ERANGE.
 *
 * Of `system.*` there are only POSIX access control lists, and only where the kernel has agreed to enforce them (POSIX_ACL): an accepted
 * list that does not protect would be a lie. `cp -a` and `setfacl` understand the refusal.
 */
import { CairnError } from '../errors/cairn-error.js';
import type { Request } from './decode-request.js';
import { type Exchange, type Reply, replyOk, replySize, sendBody } from './exchange.js';
import { In, NAME_MAX, SETXATTR_ACL_KILL_SGID, XattrFlag } from './protocol.js';

function attributeName(exchange: Exchange, request: Request): string {
  const name = request.text(NAME_MAX);
  if (name.startsWith('system.') && !exchange.enforcesAccessLists)
    throw new CairnError('NOT_SUPPORTED', `${name} is not supported`);
  return name;
}

/** `capacity` is what the caller has room for, 0 if it only asks for the size. */
const replyBytes: Reply<Uint8Array> = (exchange, unique, bytes, capacity) => {
  if (capacity === 0) replySize(exchange, unique, bytes.length, 0);
  else if (bytes.length > capacity) throw new CairnError('RANGE', 'the attribute is larger than the buffer');
  else sendBody(exchange, unique, bytes);
};

/** Every name with its NUL, one after the other. */
const replyNames: Reply<readonly string[]> = (exchange, unique, names, capacity) => {
  replyBytes(exchange, unique, Buffer.from(names.map((name) => `${name}\0`).join(''), 'latin1'), capacity);
};

export function getxattr(exchange: Exchange, request: Request): void {
  request.body(In.GETXATTR.BYTES);
  const capacity = request.u32(In.GETXATTR.SIZE);
  const name = attributeName(exchange, request);
  exchange.answer(request.unique, exchange.vfs.getxattr(request.nodeid, name), replyBytes, capacity);
}

export function listxattr(exchange: Exchange, request: Request): void {
  request.body(In.GETXATTR.BYTES);
  const capacity = request.u32(In.GETXATTR.SIZE);
  exchange.answer(request.unique, exchange.vfs.listxattr(request.nodeid), replyNames, capacity);
}

export function setxattr(exchange: Exchange, request: Request): void {
  request.body(In.SETXATTR.BYTES);
  const size = request.u32(In.SETXATTR.SIZE);
  const flags = request.u32(In.SETXATTR.FLAGS);
  if (exchange.extendsSetxattr) request.body(In.SETXATTR_EXT.BYTES);
  const extra = exchange.extendsSetxattr ? request.u32(In.SETXATTR_EXT.SETXATTR_FLAGS) : 0;
  const name = attributeName(exchange, request);
  // The vfs keeps the value; the request buffer is not ours to give away.
  const value = Uint8Array.from(request.bytes(size));
  const { CREATE, REPLACE } = XattrFlag;
  if ((flags & ~(CREATE | REPLACE)) !== 0 || flags === (CREATE | REPLACE)) {
    throw new CairnError('INVALID', `setxattr flags ${flags}`);
  }
  const mode = flags === CREATE ? 'create' : flags === REPLACE ? 'replace' : 'set';
  const killSetGroupId = (extra & SETXATTR_ACL_KILL_SGID) !== 0;
  const set = exchange.vfs.setxattr(request.nodeid, name, value, mode, killSetGroupId, request.caller());
  exchange.answer(request.unique, set, replyOk);
}

export function removexattr(exchange: Exchange, request: Request): void {
  const name = attributeName(exchange, request);
  exchange.answer(request.unique, exchange.vfs.removexattr(request.nodeid, name, request.caller()), replyOk);
}
