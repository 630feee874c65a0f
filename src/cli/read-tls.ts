/** The certificate and key of a face, read when its server starts. */
import { readFile } from 'node:fs/promises';
import { CairnError } from '../errors/cairn-error.js';
import type { TlsFiles } from '../pool/config-values.js';

/** `table`: where cairn.toml names them, as `[s3]`. CONFIG if one cannot be read. */
export async function readTls(
  table: string,
  tls: TlsFiles | undefined,
): Promise<{ readonly cert: Buffer; readonly key: Buffer } | undefined> {
  if (tls === undefined) return undefined;
  return { cert: await readPem(table, tls.certificate), key: await readPem(table, tls.key) };
}

async function readPem(table: string, path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw new CairnError('CONFIG', `the TLS file ${path} of ${table} cannot be read`, {
      hint: 'correct cairn.toml',
      cause,
    });
  }
}
