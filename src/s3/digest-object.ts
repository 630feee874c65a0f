/** Digests of objects whose bytes must be read for them: where a client asks for a checksum that nobody has computed yet. */
import { createHash } from 'node:crypto';
import type { ObjectTree } from '../vfs/object-tree.js';
import type { S3Parts, Span } from './call.js';
import { newChecksum } from './checksums.js';
import type { StoredObject } from './object-store.js';

const PIECE_BYTES = 1024 * 1024;

export function digestsOf(tree: ObjectTree): Pick<S3Parts, 'checksumOf' | 'md5Of'> {
  const feed = async (
    object: StoredObject,
    span: Span | undefined,
    take: (bytes: Uint8Array) => void,
  ): Promise<void> => {
    const { from, to } = span ?? { from: 0, to: object.node.sizeBytes };
    if (object.node.isDirectory || from >= to) return;
    await tree.reading(object.node.ino, async (read) => {
      for (let at = from; at < to; at += PIECE_BYTES)
        for (const piece of await read(at, Math.min(to, at + PIECE_BYTES))) take(piece);
    });
  };
  return {
    checksumOf: async (object, name, span) => {
      const running = newChecksum(name);
      await feed(object, span, (bytes) => running.update(bytes));
      return running.digest().toString('base64');
    },
    md5Of: async (object, span) => {
      const hash = createHash('md5');
      await feed(object, span, (bytes) => hash.update(bytes));
      return hash.digest('hex');
    },
  };
}
