/** Puts the server of the status page together: address and certificate of `[web]` in cairn.toml. */
import type { ApiParts } from '../http/api.js';
import { WebServer } from '../http/web-server.js';
import { SystemClock } from '../io/clock.js';
import type { WebConfig } from '../pool/face-config.js';
import type { PoolLog, WebFace } from './pool-opener.js';
import { readTls } from './read-tls.js';
import { TlsRenewal } from './tls-renewal.js';

export async function openWebFace(
  parts: ApiParts,
  { host, port, password, names, tls }: WebConfig,
  log: PoolLog,
): Promise<WebFace> {
  const table = '[web]';
  const clock = new SystemClock();
  const pair = tls && (await readTls(table, tls));
  const server = await WebServer.start(parts, { host, port, passwordHash: password, names, tls: pair }, clock);
  const use = server.renewTls.bind(server);
  const renewal = tls && pair && new TlsRenewal({ table, files: tls, pair, use, clock, log });
  return {
    address: server.address,
    link: server.link,
    finding: () => renewal?.finding(),
    close: async () => {
      renewal?.close();
      await server.close();
    },
  };
}
