/** Puts the S3 server of a mounted pool together: users and audit log of the pool's directory, address and certificate of its cairn.toml. */
import { createWriteStream, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { SystemClock } from '../io/clock.js';
import { NodeFileIo } from '../io/node-file-io.js';
import { versionsOf } from '../s3/file-versions.js';
import { type AuditLine, S3Server } from '../s3/s3-server.js';
import { loadUsers, UserTable } from '../s3/users.js';
import type { ObjectTree } from '../vfs/object-tree.js';
import type { PoolLog, S3Face, S3Opener } from './pool-opener.js';
import { readTls } from './read-tls.js';
import { TlsRenewal } from './tls-renewal.js';

const AUDIT_NAME = 's3-audit.log';
/** A longer one becomes s3-audit.log.1 at the next start. */
const AUDIT_BYTES_MAX = 64 * 1024 * 1024;
/** Lines are written together, so long after the first of them, or when there are so many characters. */
const AUDIT_DELAY_MS = 50;
const AUDIT_CHARACTERS_MAX = 64 * 1024;
const REQUESTS_MAX = 512;

export async function openS3Face(
  tree: ObjectTree,
  { poolDirectory, config, log, onVersioning }: Parameters<S3Opener>[1],
): Promise<S3Face> {
  const io = new NodeFileIo();
  const clock = new SystemClock();
  const { host, port, region, domain, tls, requestsPerSecond } = config;
  const pair = tls && (await readTls('[s3]', tls));
  const users = new UserTable(
    () => loadUsers(io, poolDirectory),
    clock,
    (error) => log.error({ err: error }, 'the users of S3 could not be read; they stay what they were'),
  );
  const audit = openAudit(poolDirectory, log);
  const server = await S3Server.start(
    {
      tree,
      users,
      clock,
      onVersioning,
      audit: audit.write,
      onFailure: (what, error) => log.error({ err: error }, what),
    },
    { host, port, region, domain, tls: pair, requestsMax: REQUESTS_MAX, requestsPerSecond },
  );
  const use = server.renewTls.bind(server);
  const renewal = tls && pair && new TlsRenewal({ table: '[s3]', files: tls, pair, use, clock, log });
  log.info({ endpoint: server.endpoint }, 'serving S3');
  return {
    endpoint: server.endpoint,
    keys: async () =>
      (await loadUsers(io, poolDirectory)).map(({ name, accessKey, buckets }) => ({
        name,
        accessKey,
        buckets: buckets ?? {},
      })),
    versions: (path) => versionsOf(server.parts, path),
    finding: () => renewal?.finding(),
    close: async () => {
      renewal?.close();
      await server.close();
      await audit.close();
    },
  };
}

/** One JSON line for each request. Losing lines must not stop the server: a failure is logged once. */
function openAudit(
  poolDirectory: string,
  log: PoolLog,
): { write: (line: AuditLine) => void; close: () => Promise<void> } {
  const path = join(poolDirectory, AUDIT_NAME);
  const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  if (size > AUDIT_BYTES_MAX) renameSync(path, `${path}.1`);
  const stream = createWriteStream(path, { flags: 'a', mode: 0o600 });
  let isBroken = false;
  let lines = '';
  let timer: NodeJS.Timeout | undefined;
  const flush = (): void => {
    clearTimeout(timer);
    timer = undefined;
    if (!isBroken && lines !== '') stream.write(lines);
    lines = '';
  };
  stream.on('error', (error) => {
    if (!isBroken) log.error({ err: error }, 'the audit log of S3 cannot be written');
    isBroken = true;
  });
  return {
    write: (line) => {
      if (isBroken) return;
      lines += `${JSON.stringify(line)}\n`;
      if (lines.length >= AUDIT_CHARACTERS_MAX) flush();
      else timer ??= setTimeout(flush, AUDIT_DELAY_MS);
    },
    close: () => {
      flush();
      return new Promise((resolve) => stream.end(() => resolve()));
    },
  };
}
