/** Compares everything a Vfs says of a tree with the model: names, attributes, times, bytes, extended attributes. */
import { readSync } from 'node:fs';
import { ROOT_INO } from '../../../src/meta/rows.js';
import type { Attr, Handle, Ino, ReadPart, Vfs } from '../../../src/vfs/vfs.js';
import type { ModelNode, TreeModel } from './tree-model.js';

export async function readAll(vfs: Vfs, handle: Handle, offset: number, length: number): Promise<Buffer> {
  const result = vfs.read(handle, offset, length);
  const parts = result instanceof Promise ? await result : result;
  return Buffer.concat(parts.map(bytesOf));
}

function bytesOf(part: ReadPart): Uint8Array {
  if (part instanceof Uint8Array) return part;
  const bytes = Buffer.alloc(part.length);
  const read = readSync(part.fd, bytes, 0, part.length, part.position);
  return bytes.subarray(0, read);
}

export async function listNames(vfs: Vfs, ino: Ino, perCall = 7): Promise<Map<string, Attr>> {
  const handle = await vfs.opendir(ino);
  const found = new Map<string, Attr>();
  let cookie = 0;
  try {
    for (let more = true; more; ) {
      more = false;
      let taken = 0;
      await vfs.readdir(handle, cookie, true, (entry, attr) => {
        if (taken++ === perCall) {
          more = true;
          return false;
        }
        cookie = entry.cookie;
        if (entry.name === '.' || entry.name === '..') return true;
        if (found.has(entry.name)) throw new Error(`readdir gave ${JSON.stringify(entry.name)} twice`);
        if (attr === undefined || attr.ino !== entry.ino || attr.mode !== entry.mode)
          throw new Error(`readdir contradicts itself about ${JSON.stringify(entry.name)}`);
        found.set(entry.name, attr);
        return true;
      });
    }
  } finally {
    await vfs.releasedir(handle);
  }
  return found;
}

/** Throws an Error that says where they differ. */
export async function compareTree(vfs: Vfs, model: TreeModel): Promise<void> {
  const inos = new Map<ModelNode, Ino>();
  const walk = async (node: ModelNode, ino: Ino, path: string): Promise<void> => {
    const known = inos.get(node);
    if (known !== undefined) {
      expect(path, 'inode of a second name', ino, known);
      return;
    }
    inos.set(node, ino);
    await compareNode(vfs, node, ino, path);
    if (!node.isDirectory) return;
    const found = await listNames(vfs, ino);
    expect(path, 'names', [...found.keys()].sort().join(' '), [...node.children.keys()].sort().join(' '));
    for (const [name, child] of node.children) {
      const attr = await vfs.lookup(ino, name);
      expect(`${path}/${name}`, 'inode by lookup', attr?.ino, found.get(name)!.ino);
      await walk(child, found.get(name)!.ino, `${path}/${name}`);
    }
  };
  await walk(model.root, ROOT_INO, '');
}

async function compareNode(vfs: Vfs, node: ModelNode, ino: Ino, path: string): Promise<void> {
  const attr = await vfs.getattr(ino);
  expect(path, 'mode', attr.mode.toString(8), node.mode.toString(8));
  expect(path, 'nlink', attr.nlink, node.nlink);
  expect(path, 'owner', `${attr.uid}:${attr.gid}`, `${node.uid}:${node.gid}`);
  compareTimes(attr, node, path);
  if (node.target !== '') expect(path, 'target', await vfs.readlink(ino), node.target);
  const names = await vfs.listxattr(ino);
  expect(path, 'xattrs', names.sort().join(' '), [...node.xattrs.keys()].sort().join(' '));
  for (const [name, value] of node.xattrs)
    expect(path, name, Buffer.from(await vfs.getxattr(ino, name)).toString('hex'), value.toString('hex'));
  if (!node.isFile) return;
  expect(path, 'size', attr.sizeBytes, node.data.length);
  const handle = await vfs.open(ino, { read: true, write: false });
  try {
    compareBytes(await readAll(vfs, handle, 0, node.data.length + 10), node.data, path);
  } finally {
    await vfs.release(handle);
  }
}

export function compareBytes(found: Buffer, wanted: Buffer, path: string): void {
  if (found.equals(wanted)) return;
  const at = found.findIndex((byte, i) => byte !== wanted[i]);
  throw new Error(
    `${path}: bytes differ at ${at} of ${wanted.length} (read ${found.length}): ${found[at]} instead of ${wanted[at]}`,
  );
}

/** A time that no operation moved is the one seen before; one that was moved has not gone back. */
function compareTimes(attr: Attr, node: ModelNode, path: string): void {
  const now = { mtime: text(attr.mtime), ctime: text(attr.ctime) };
  if (node.seen !== undefined) {
    for (const which of ['mtime', 'ctime'] as const) {
      if (!node.moved[which]) expect(path, `${which} that nothing moved`, now[which], node.seen[which]);
      else if (now[which] <= node.seen[which])
        throw new Error(`${path}: ${which} was not moved on: ${now[which]} after ${node.seen[which]}`);
    }
  }
  node.seen = now;
  node.moved = { mtime: false, ctime: false };
}

function text({ sec, nsec }: { sec: number; nsec: number }): string {
  return `${sec}.${String(nsec).padStart(9, '0')}`;
}

function expect(path: string, what: string, found: unknown, wanted: unknown): void {
  if (found !== wanted) throw new Error(`${path}: ${what} is ${String(found)} instead of ${String(wanted)}`);
}
