/** Operations on open directories. The kernel keeps listings, with positions that are good for every handle (vfs/listing.ts). */
import { CairnError } from '../errors/cairn-error.js';
import { Interruption } from '../vfs/interruption.js';
import type { Request } from './decode-request.js';
import type { DirentEncoder } from './encode-reply.js';
import { type Exchange, type Reply, replyOk, replyOpendir } from './exchange.js';
import { In } from './protocol.js';

export function opendir(exchange: Exchange, request: Request): void {
  request.body(In.OPEN.BYTES);
  exchange.answer(request.unique, exchange.vfs.opendir(request.nodeid), replyOpendir, request.nodeid);
}

export function readdir(exchange: Exchange, request: Request): void {
  list(exchange, request, false);
}

export function readdirplus(exchange: Exchange, request: Request): void {
  list(exchange, request, true);
}

function list(exchange: Exchange, request: Request, plus: boolean): void {
  request.body(In.READ.BYTES);
  const handle = request.u64(In.READ.FH);
  const cookie = request.u64(In.READ.OFFSET);
  const entries = exchange.takeDirentEncoder();
  entries.begin(request.u32(In.READ.SIZE));
  let hadNoRoom = false;
  const listed = exchange.vfs.readdir(handle, cookie, plus, (entry, attr) => {
    if (attr !== undefined) exchange.remember(attr);
    const added = plus ? entries.addPlus(entry, attr) : entries.add(entry);
    if (!added) hadNoRoom = true;
    else if (attr !== undefined) exchange.entered(attr);
    return added;
  });
  const finish: Reply<void> = (_, unique) => {
    // An empty reply means the end of the directory, so it must not stand for "no room for even one".
    if (entries.isEmpty && hadNoRoom) throw new CairnError('INVALID', 'readdir with too small a buffer');
    sendEntries(exchange, unique, entries);
  };
  exchange.answer(request.unique, listed, finish);
}

function sendEntries(exchange: Exchange, unique: bigint, entries: DirentEncoder): void {
  exchange.sent(exchange.channel.sendBytes(entries.buffer, entries.finish(unique)));
  exchange.giveDirentEncoder(entries);
}

export function releasedir(exchange: Exchange, request: Request): void {
  request.body(In.RELEASE.BYTES);
  exchange.answer(request.unique, exchange.vfs.releasedir(request.u64(In.RELEASE.FH)), replyOk);
}

/** There is no data apart from the metadata in a directory: fdatasync is fsync. */
export function fsyncdir(exchange: Exchange, request: Request): void {
  request.body(In.FSYNC.BYTES);
  exchange.answerInterruptible(
    request,
    exchange.vfs.fsyncdir(request.u64(In.FSYNC.FH)),
    replyOk,
    0,
    new Interruption(true),
  );
}
