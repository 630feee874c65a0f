/**
 * Work on a mount that is interrupted by kill -9, and what must be there afterwards. Operation number i is a function of i
 * alone: the program that does it (work-writer.ts) says `i` when it has been acknowledged, the test folds the operations up to there
 * into the state that it must find. Only what the operation after that touches may be in its old or its new state.
 *
 * Every operation ends with what makes it a promise: close, fsync, or fsync of the directory.
 */
import {
  closeSync,
  existsSync,
  fdatasyncSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  truncateSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { contentOf } from './content.js';

const PAGE_BYTES = 4096;
const PAGES = 64;
const SIZES = [0, 1, 700, 4096, 9000, 70_000, 300_000, 1_300_000];
const LARGE_BYTES = 5 * 1024 * 1024;

type Operation =
  | { readonly kind: 'close' | 'fsync'; readonly path: string; readonly content: string; readonly sizeBytes: number }
  | { readonly kind: 'replace'; readonly path: string; readonly content: string; readonly sizeBytes: number }
  | { readonly kind: 'page'; readonly path: string; readonly page: number; readonly content: string }
  | { readonly kind: 'append'; readonly path: string; readonly from: number; readonly to: number }
  | { readonly kind: 'truncate'; readonly path: string; readonly sizeBytes: number }
  | { readonly kind: 'unlink'; readonly path: string }
  | { readonly kind: 'link'; readonly path: string; readonly target: string };

function sizeOf(i: number): number {
  return i % 90 === 45 ? LARGE_BYTES : SIZES[Math.floor(i / 2) % SIZES.length]!;
}

function operation(i: number): Operation {
  const page = (i * 7) % PAGES;
  // The file of the last round of ten with this digit; the first rounds have none.
  const before = (digit: number) => `file ${Math.floor(i / 10) * 10 - 10 + digit}`;
  const fresh = { path: `file ${i}`, content: `content ${i}`, sizeBytes: sizeOf(i) };
  switch (i % 10) {
    case 0:
    case 1:
      return { kind: 'close', ...fresh };
    case 2:
      return { kind: 'fsync', ...fresh };
    case 3:
      return { kind: 'replace', path: 'current', content: `current ${i}`, sizeBytes: 3000 + i };
    case 4:
    case 5:
      return { kind: 'page', path: 'pages', page, content: `page ${page} ${i}` };
    case 6: {
      const step = Math.floor(i / 10);
      return { kind: 'append', path: 'log', from: step * 777, to: (step + 1) * 777 };
    }
    case 7:
      return i < 10
        ? { kind: 'close', ...fresh }
        : { kind: 'truncate', path: before(0), sizeBytes: Math.floor(sizeOf(i - 17) / 2) };
    case 8:
      return i < 10 ? { kind: 'close', ...fresh } : { kind: 'unlink', path: before(1) };
    default:
      return i % 20 === 9
        ? { kind: 'link', path: `link ${i}`, target: `file ${i - 7}` }
        : { kind: 'close', ...fresh, path: join(`directory ${i}`, 'in it', 'file') };
  }
}

/** Does operation `i` in `directory`; when it returns, the operation is acknowledged. Throws what the file system answers. */
export function doOperation(directory: string, i: number): void {
  const op = operation(i);
  const path = join(directory, op.path);
  switch (op.kind) {
    case 'close':
      mkdirSync(dirname(path), { recursive: true });
      withFile(path, 'w', (fd) => writeAll(fd, contentOf(op.content, op.sizeBytes)));
      break;
    case 'fsync': {
      // Acknowledged before it is closed.
      const fd = openSync(path, 'w');
      writeAll(fd, contentOf(op.content, op.sizeBytes));
      fsyncSync(fd);
      setImmediate(() => {
        try {
          closeSync(fd);
        } catch {
          // The daemon is dead.
        }
      });
      break;
    }
    case 'replace':
      withFile(`${path}.new`, 'w', (fd) => {
        writeAll(fd, contentOf(op.content, op.sizeBytes));
        fsyncSync(fd);
      });
      renameSync(`${path}.new`, path);
      syncDirectory(directory);
      break;
    case 'page':
      withFile(path, existsSync(path) ? 'r+' : 'w', (fd) => {
        writeSync(fd, contentOf(op.content, PAGE_BYTES), 0, PAGE_BYTES, op.page * PAGE_BYTES);
        fdatasyncSync(fd);
      });
      break;
    case 'append':
      withFile(path, 'a', (fd) => {
        writeAll(fd, contentOf('log', op.to).subarray(op.from));
        fdatasyncSync(fd);
      });
      break;
    case 'truncate':
      truncateSync(path, op.sizeBytes);
      withFile(path, 'r+', (fd) => fsyncSync(fd));
      break;
    case 'unlink':
      unlinkSync(path);
      syncDirectory(directory);
      break;
    case 'link':
      linkSync(join(directory, op.target), path);
      syncDirectory(directory);
      break;
  }
}

function withFile(path: string, flags: string, use: (fd: number) => void): void {
  const fd = openSync(path, flags);
  try {
    use(fd);
  } finally {
    closeSync(fd);
  }
}

function writeAll(fd: number, bytes: Buffer): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at, Math.min(131_072, bytes.length - at));
}

function syncDirectory(directory: string): void {
  withFile(directory, 'r', (fd) => fsyncSync(fd));
}

interface Expected {
  readonly content: string;
  readonly sizeBytes: number;
}

/** What is wrong in `directory` after operations 0 to `acknowledged` - 1 were acknowledged and one more may have been under way; empty if all is well. */
export function findLoss(directory: string, acknowledged: number): string[] {
  const { files, pages } = stateAfter(acknowledged);
  const next = operation(acknowledged);
  const problems: string[] = [];
  const read = (path: string): Buffer | undefined => {
    try {
      return readFileSync(join(directory, path));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') problems.push(`${path}: ${String(error)}`);
      return undefined;
    }
  };
  for (const [path, expected] of files) {
    const found = read(path);
    if (found?.equals(bytesOf(expected))) continue;
    if (mayDiffer(next, path, expected, found)) continue;
    problems.push(
      `${path}: ${found === undefined ? 'is not there' : `${found.length} bytes, not ${expected.sizeBytes} as acknowledged, or wrong ones`}`,
    );
  }
  for (let i = 0; i < acknowledged; i++) {
    const op = operation(i);
    if (op.kind === 'unlink' && read(op.path) !== undefined) problems.push(`${op.path}: was removed and is back`);
  }
  const found = pages.size === 0 ? undefined : read('pages');
  for (const [page, content] of pages) {
    const bytes = found?.subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
    const now = next.kind === 'page' && next.page === page ? contentOf(next.content, PAGE_BYTES) : undefined;
    if (bytes === undefined || !(bytes.equals(contentOf(content, PAGE_BYTES)) || now?.equals(bytes)))
      problems.push(`pages: page ${page} is not what was acknowledged (${content})`);
  }
  return problems;
}

function bytesOf({ content, sizeBytes }: Expected): Buffer {
  return contentOf(content, sizeBytes);
}

/** `found` is what the operation under way may have made of the file. */
function mayDiffer(next: Operation, path: string, before: Expected, found: Buffer | undefined): boolean {
  switch (next.kind) {
    case 'unlink':
      return next.path === path && found === undefined;
    case 'truncate':
    case 'append': {
      if (next.path !== path || found === undefined) return false;
      const [least, most] = next.kind === 'append' ? [before.sizeBytes, next.to] : [next.sizeBytes, before.sizeBytes];
      return found.length >= least && found.length <= most && found.equals(contentOf(before.content, found.length));
    }
    case 'replace':
      return next.path === path && found !== undefined && found.equals(bytesOf(next));
    default:
      return false;
  }
}

function stateAfter(count: number): { files: Map<string, Expected>; pages: Map<number, string> } {
  const files = new Map<string, Expected>();
  const pages = new Map<number, string>();
  for (let i = 0; i < count; i++) {
    const op = operation(i);
    if (op.kind === 'page') pages.set(op.page, op.content);
    else if (op.kind === 'append') files.set(op.path, { content: 'log', sizeBytes: op.to });
    else if (op.kind === 'truncate') files.set(op.path, { ...files.get(op.path)!, sizeBytes: op.sizeBytes });
    else if (op.kind === 'unlink') files.delete(op.path);
    else if (op.kind === 'link') files.set(op.path, files.get(op.target)!);
    else files.set(op.path, { content: op.content, sizeBytes: op.sizeBytes });
  }
  return { files, pages };
}
