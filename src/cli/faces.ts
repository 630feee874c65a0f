/**
 * What of a mounted pool is there for others: the S3 server, the status page, and who is told of what happens. Each is what cairn.toml says, also when that
 * changes while the pool is mounted; a change that cannot be had (an address that is taken, a certificate that cannot be read) leaves all three as they were.
 */
import { isDeepStrictEqual } from 'node:util';
import { hasCode } from '../errors/cairn-error.js';
import type { ApiParts } from '../http/api.js';
import type { PoolConfig } from '../pool/config.js';
import type { NotifyConfig, S3Config, WebConfig } from '../pool/face-config.js';
import type { ObjectTree } from '../vfs/object-tree.js';
import type { CliContext } from './context.js';
import type { PoolLog, S3Face, VersionedMount, Watch, WebFace } from './pool-opener.js';
import { errorLine } from './show-error.js';

export type FaceConfig = Pick<PoolConfig, 's3' | 'web' | 'notify'>;

interface FaceParts {
  readonly context: Pick<CliContext, 'openS3' | 'openWeb'>;
  readonly poolDirectory: string;
  /** Not given by a stand-in that has none: then nothing is served as S3. */
  readonly objects: ObjectTree | undefined;
  readonly versions: VersionedMount | undefined;
  /** Served where cairn.toml says nothing of S3; the same of the status page. */
  readonly s3Otherwise: S3Config | undefined;
  readonly webOtherwise: WebConfig | undefined;
  readonly log: PoolLog;
}

export class Faces {
  readonly #parts: FaceParts;
  readonly #s3: Served<S3Config, S3Face>;
  readonly #web: Served<WebConfig, WebFace>;
  #notify: NotifyConfig | undefined;
  #watch: Watch | undefined;
  #api: ApiParts | undefined;
  #webError: string | undefined;

  constructor(parts: FaceParts) {
    this.#parts = parts;
    const { log } = parts;
    this.#s3 = new Served(
      (config) => this.#openS3(config),
      (error) => log.error({ err: error }, 'S3 is not served any more'),
    );
    this.#web = new Served(
      (config) => this.#openWeb(config),
      (error) => log.error({ err: error }, 'the status page is not served any more'),
    );
  }

  /** A pool without its page is still a pool: only what is wrong in cairn.toml, and an S3 server that cannot be had, make it reject. */
  async start({ s3, web, notify }: FaceConfig, api: ApiParts, watch: Watch): Promise<void> {
    this.#api = api;
    this.#watch = watch;
    this.#notify = notify;
    await this.#s3.become(s3);
    try {
      await this.#web.become(web);
    } catch (error) {
      if (hasCode(error, 'CONFIG')) throw error;
      this.#parts.log.error({ err: error }, 'the status page is not served');
      this.#webError = errorLine(error);
    }
  }

  /** As cairn.toml has it. */
  get config(): FaceConfig {
    return { s3: this.#s3.config, web: this.#web.config, notify: this.#notify };
  }

  get s3(): S3Face | undefined {
    return this.#s3.face;
  }

  get web(): WebFace | undefined {
    return this.#web.face;
  }

  /** Sentences for `cairn status`. */
  findings(): string[] {
    const faces = [this.s3?.finding?.(), this.web?.finding?.()].filter((finding) => finding !== undefined);
    return this.#webError === undefined ? faces : [...faces, `the status page is not served: ${this.#webError}`];
  }

  /** If one of them cannot be had, all are as before, and this rejects. */
  async become({ s3, web, notify }: FaceConfig): Promise<void> {
    const before = this.#s3.config;
    await this.#s3.become(s3);
    try {
      await this.#web.become(web);
      this.#webError = undefined;
    } catch (error) {
      await this.#s3.become(before);
      throw error;
    }
    if (isDeepStrictEqual(notify, this.#notify)) return;
    this.#notify = notify;
    this.#watch?.notify(notify);
  }

  /** No new requests; resolves when those under way have their answers, or after a short while. */
  async close(): Promise<void> {
    await this.#web.close();
    await this.#s3
      .close()
      .catch((error: unknown) => this.#parts.log.error({ err: error }, 'ending the S3 server failed'));
  }

  async #openS3(said: S3Config | undefined): Promise<S3Face | undefined> {
    const { context, poolDirectory, objects, versions, s3Otherwise, log } = this.#parts;
    const config = said ?? s3Otherwise;
    if (objects === undefined || config === undefined) return undefined;
    const onVersioning = versions && (() => versions.refresh());
    const face = await context.openS3(objects, { poolDirectory, config, log, onVersioning });
    await onVersioning?.();
    return face;
  }

  async #openWeb(said: WebConfig | undefined): Promise<WebFace | undefined> {
    const { context, webOtherwise, log } = this.#parts;
    const config = said ?? webOtherwise;
    if (this.#api === undefined || config === undefined) return undefined;
    const web = await context.openWeb(this.#api, config, log);
    log.info({ address: web.address }, 'serving the status page');
    return web;
  }
}

/** One server, which another takes the place of when its settings change. */
class Served<C, F extends { close(): Promise<void> }> {
  readonly #open: (config: C | undefined) => Promise<F | undefined>;
  readonly #onGone: (error: unknown) => void;
  #isOpen = false;
  face: F | undefined;
  config: C | undefined;

  /** `onGone`: neither the new one could be had, nor the old one again. */
  constructor(open: (config: C | undefined) => Promise<F | undefined>, onGone: (error: unknown) => void) {
    this.#open = open;
    this.#onGone = onGone;
  }

  /** Rejects with what `open` does; then the one from before serves. */
  async become(wanted: C | undefined): Promise<void> {
    if (this.#isOpen && isDeepStrictEqual(wanted, this.config)) return;
    // Both may have the same address.
    await this.close();
    try {
      this.face = await this.#open(wanted);
      this.config = wanted;
    } catch (error) {
      if (this.#isOpen) this.face = await this.#open(this.config).catch((again: unknown) => void this.#onGone(again));
      throw error;
    } finally {
      this.#isOpen = true;
    }
  }

  async close(): Promise<void> {
    const { face } = this;
    this.face = undefined;
    await face?.close();
  }
}
