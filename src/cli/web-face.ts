/** Puts the server of the status page together: address and certificate of `[web]` in cairn.toml. */
import { readFile } from 'node:fs/promises';
import { CairnError } from '../errors/cairn-error.js';
import type { ApiParts } from '../http/api.js';
import { WebServer } from '../http/web-server.js';
import { SystemClock } from '../io/clock.js';
import type { WebConfig } from '../pool/face-config.js';
import type { WebFace } from './pool-opener.js';

export async function openWebFace(parts: ApiParts, { host, port, password, names, tls }: WebConfig): Promise<WebFace> {
  const pem = tls === undefined ? undefined : { cert: await readPem(tls.certificate), key: await readPem(tls.key) };
  return await WebServer.start(parts, { host, port, passwordHash: password, names, tls: pem }, new SystemClock());
}

async function readPem(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw new CairnError('CONFIG', `the TLS file ${path} of [web] cannot be read`, {
      hint: 'correct cairn.toml',
      cause,
    });
  }
}
