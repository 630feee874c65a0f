/**
 * The files of the status page, from the package: page/ (document, styles, icon) as they are, and the modules that the compiler made of page/*.ts. Read once, and
 * sent compressed. Only what is listed here can be had: names are matched, never joined to a path from outside.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { brotliCompress as brotliCompressCallback, constants, gzip as gzipCallback } from 'node:zlib';
import { CairnError } from '../errors/cairn-error.js';

const brotliCompress = promisify(brotliCompressCallback);
const gzip = promisify(gzipCallback);

const PACKAGE = new URL('../../../', import.meta.url);
const PLAIN: Readonly<Record<string, readonly [file: string, type: string]>> = {
  '/': ['page/index.html', 'text/html; charset=utf-8'],
  '/style.css': ['page/style.css', 'text/css; charset=utf-8'],
  '/icon.svg': ['page/icon.svg', 'image/svg+xml'],
};
const MODULE = /^\/(page|src\/errors)\/([a-z-]{1,40})\.js$/;

interface PageFile {
  readonly type: string;
  readonly tag: string;
  readonly plain: Buffer;
  readonly br: Buffer;
  readonly gzip: Buffer;
}

export class PageFiles {
  readonly #files = new Map<string, Promise<PageFile | undefined>>();

  /** False if there is no such file. */
  async answer(path: string, request: IncomingMessage, response: ServerResponse): Promise<boolean> {
    const module = MODULE.exec(path);
    const place =
      PLAIN[path] ?? (module === null ? undefined : ([`dist/web${path}`, 'text/javascript; charset=utf-8'] as const));
    if (place === undefined) return false;
    let loading = this.#files.get(path);
    if (loading === undefined) {
      loading = load(...place);
      this.#files.set(path, loading);
    }
    const file = await loading;
    if (file === undefined) {
      // A module that is not there now may be there after the next build.
      this.#files.delete(path);
      if (path === '/')
        throw new CairnError('NOT_FOUND', 'the page is not in this installation', {
          hint: 'build or install the package again',
        });
      return false;
    }
    // The browser asks each time whether it still has the right one: after an upgrade it has not.
    response.setHeader('cache-control', 'no-cache').setHeader('etag', file.tag).setHeader('vary', 'accept-encoding');
    if (request.headers['if-none-match'] === file.tag) {
      response.writeHead(304).end();
      return true;
    }
    const accepted = request.headers['accept-encoding'] ?? '';
    const encoding = /\bbr\b/.test(accepted) ? 'br' : /\bgzip\b/.test(accepted) ? 'gzip' : 'plain';
    const body = file[encoding];
    if (encoding !== 'plain') response.setHeader('content-encoding', encoding);
    response.writeHead(200, { 'content-type': file.type, 'content-length': body.length });
    response.end(request.method === 'HEAD' ? undefined : body);
    return true;
  }
}

async function load(file: string, type: string): Promise<PageFile | undefined> {
  const plain = await readFile(fileURLToPath(new URL(file, PACKAGE))).catch(() => undefined);
  if (plain === undefined) return undefined;
  const params = { [constants.BROTLI_PARAM_QUALITY]: 9 };
  const tag = `"${createHash('sha256').update(plain).digest('base64url').slice(0, 22)}"`;
  return { type, tag, plain, br: await brotliCompress(plain, { params }), gzip: await gzip(plain) };
}
