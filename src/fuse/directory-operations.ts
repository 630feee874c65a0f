/** Operations on open directories. The kernel keeps listings, with positions that are good for every handle (vfs/listing.ts). */
import { CairnError } from '../errors/cairn-error.js';
import { Interruption } from '../vfs/interruption.js';
import type { Handle } from '../vfs/vfs.js';
import type { Request } from './decode-request.js';
import type { DirentEncoder } from './encode-reply.js';
import { type Exchange, type Reply, replyOk, replyOpendir } from './exchange.js';
import { In, OpenReply } from './protocol.js';

export function opendir(exchange: Exchange, request: Request): void {
  request.body(In.OPEN.BYTES);
  const reply = exchange.pages.isAsking(request.pid) ? replyAsking : replyOpendir;
  exchange.answer(request.unique, exchange.vfs.opendir(request.nodeid), reply, request.nodeid);
}

/** It is never read: the listing that the kernel has kept stays, whatever it is worth, and no access time moves. */
const replyAsking: Reply<Handle> = (exchange, unique, handle) => {
  exchange.pages.askedBy(handle);
  exchange.sendSmall(exchange.encoder.open(unique, handle, OpenReply.CACHE_DIR | OpenReply.KEEP_CACHE));
};

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
  const handle = request.u64(In.RELEASE.FH);
  exchange.pages.releasedDirectory(handle);
  exchange.answer(request.unique, exchange.vfs.releasedir(handle), replyOk);
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
