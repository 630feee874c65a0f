/**
 * A certificate that is renewed while it is served: its two files are read again and again, and what they hold is used for new connections as soon as both fit
 * together. They are read and not watched, because what renews certificates changes links, links of links, or the content, and inotify sees only some of it.
 * A pair that cannot be used (half written, or of two renewals) leaves the one from before in use, and is said for as long as it is so.
 */
import { createSecureContext } from 'node:tls';
import type { TlsFiles } from '../pool/config-values.js';
import type { CliContext } from './context.js';
import type { PoolLog } from './pool-opener.js';
import { readTls, type TlsPair } from './read-tls.js';
import { errorLine } from './show-error.js';

const LOOK_MS = 10_000;

interface RenewalParts {
  /** Where cairn.toml names the files, as `[s3]`. */
  readonly table: string;
  readonly files: TlsFiles;
  /** In use. */
  readonly pair: TlsPair;
  /** Is given only what makes a TLS context. */
  readonly use: (pair: TlsPair) => void;
  readonly clock: CliContext['clock'];
  readonly log: Pick<PoolLog, 'info' | 'error'>;
}

export class TlsRenewal {
  readonly #parts: RenewalParts;
  #inUse: TlsPair;
  #refusal: string | undefined;
  #isClosed = false;
  #timer: ReturnType<CliContext['clock']['after']> | undefined;

  constructor(parts: RenewalParts) {
    this.#parts = parts;
    this.#inUse = parts.pair;
    this.#plan();
  }

  /** A sentence for `cairn status`; undefined if what is in the files is served. */
  finding(): string | undefined {
    if (this.#refusal === undefined) return undefined;
    return `the certificate of ${this.#parts.table} has changed and cannot be used, the one from before is served: ${this.#refusal}`;
  }

  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
  }

  #plan(): void {
    if (this.#isClosed) return;
    this.#timer = this.#parts.clock.after(LOOK_MS, () => void this.#look().finally(() => this.#plan()));
  }

  async #look(): Promise<void> {
    const { table, files, use, log } = this.#parts;
    try {
      const pair = await readTls(table, files);
      if (this.#isClosed) return;
      if (!isSame(pair, this.#inUse)) {
        createSecureContext(pair);
        use(pair);
        this.#inUse = pair;
        log.info({}, `the certificate of ${table} was renewed: new connections get it`);
      }
      this.#refusal = undefined;
    } catch (error) {
      const refusal = errorLine(error);
      if (refusal === this.#refusal) return;
      this.#refusal = refusal;
      log.error(
        { err: error },
        `the certificate of ${table} has changed and cannot be used; the one from before is served`,
      );
    }
  }
}

function isSame(a: TlsPair, b: TlsPair): boolean {
  return a.cert.equals(b.cert) && a.key.equals(b.key);
}
