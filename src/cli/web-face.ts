/** Puts the server of the status page together: address and certificate of `[web]` in cairn.toml. */
import type { ApiParts } from '../http/api.js';
import { WebServer } from '../http/web-server.js';
import { SystemClock } from '../io/clock.js';
import type { WebConfig } from '../pool/face-config.js';
import type { WebFace } from './pool-opener.js';
import { readTls } from './read-tls.js';

export async function openWebFace(parts: ApiParts, { host, port, password, names, tls }: WebConfig): Promise<WebFace> {
  const pem = await readTls('[web]', tls);
  return await WebServer.start(parts, { host, port, passwordHash: password, names, tls: pem }, new SystemClock());
}
