/**
 * Extended attributes. A size of 0 asks how large the answer would be; one that is too small gets ERANGE.
 *
 * `system.*` is refused: the names that programs try are POSIX access control lists, which nothing here enforces, and
 * an accepted list that does not protect would be a lie. `cp -a` and `setfacl` understand the refusal.
 */
import { CairnError } from '../errors/cairn-error.js';
import type { Request } from './decode-request.js';
import { type Exchange, type Reply, replyOk, replySize, sendBody } from './exchange.js';
import { In, NAME_MAX, XattrFlag } from './protocol.js';

function attributeName(request: Request): string {
  const name = request.text(NAME_MAX);
  if (name.startsWith('system.')) throw new CairnError('NOT_SUPPORTED', `${name} is not supported`);
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
  const name = attributeName(request);
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
  const name = attributeName(request);
  // The vfs keeps the value; the request buffer is not ours to give away.
  const value = Uint8Array.from(request.bytes(size));
  const { CREATE, REPLACE } = XattrFlag;
  if ((flags & ~(CREATE | REPLACE)) !== 0 || flags === (CREATE | REPLACE)) {
    throw new CairnError('INVALID', `setxattr flags ${flags}`);
  }
  const mode = flags === CREATE ? 'create' : flags === REPLACE ? 'replace' : 'set';
  exchange.answer(request.unique, exchange.vfs.setxattr(request.nodeid, name, value, mode), replyOk);
}

export function removexattr(exchange: Exchange, request: Request): void {
  const name = attributeName(request);
  exchange.answer(request.unique, exchange.vfs.removexattr(request.nodeid, name), replyOk);
}
