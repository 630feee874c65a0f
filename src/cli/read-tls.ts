/** The certificate and key of a face, as its server starts with them. */
import { readFile } from 'node:fs/promises';
import { CairnError } from '../errors/cairn-error.js';
import type { TlsFiles } from '../pool/config-values.js';

/** PEM. */
export interface TlsPair {
  readonly cert: Buffer;
  readonly key: Buffer;
}

/** `table`: where cairn.toml names them, as `[s3]`. CONFIG if one cannot be read. */
export async function readTls(table: string, { certificate, key }: TlsFiles): Promise<TlsPair> {
  return { cert: await readPem(table, certificate), key: await readPem(table, key) };
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
