/**
 * A mounted pool from start to end: dead mount detached, pool opened, mounted, control socket listening; and back in the
 * order that loses nothing: commit while everything still works, unmount, stop listening, close the pool.
 *
 * It ends for three reasons that share one path: `cairn unmount` (refused while files are open), a signal (files that are
 * open are detached, after what the kernel holds of them was written back), and an unmount by somebody else.
 */

import { isDeepStrictEqual } from 'node:util';
import { CairnError, hasCode } from '../errors/cairn-error.js';
import type { ApiParts } from '../http/api.js';
import { ControlClient } from '../http/control-client.js';
import { ControlServer } from '../http/control-server.js';
import type { PoolConfig } from '../pool/config.js';
import type { S3Config, WebConfig } from '../pool/face-config.js';
import { BUCKET_ATTRIBUTE } from '../vfs/hidden-name.js';
import type { ObjectTree } from '../vfs/object-tree.js';
import type { CommitProgress, PoolControl, PoolStatus } from '../vfs/reports.js';
import { ConfigWatch } from './config-watch.js';
import type { CliContext } from './context.js';
import { IdleMemory } from './idle-memory.js';
import { mountSource } from './mount-table.js';
import { prepareMountpoint } from './mountpoint.js';
import type { MountSession, OpenPool, PoolLog, S3Face, VersionedMount, Watch, WebFace } from './pool-opener.js';
import { errorLine } from './show-error.js';
import { writeBack } from './write-back.js';

type OnProgress = (progress: CommitProgress) => void;
type Context = Pick<
  CliContext,
  | 'cwd'
  | 'clock'
  | 'pools'
  | 'mounter'
  | 'mountTable'
  | 'openS3'
  | 'openVersions'
  | 'openWeb'
  | 'watchPool'
  | 'openMemory'
>;

export interface MountOptions {
  /** Absolute, without symbolic links; so is the mount point. */
  readonly poolDirectory: string;
  readonly mountpoint: string;
  readonly config: PoolConfig;
  /** Served where cairn.toml says nothing of S3. */
  readonly s3Otherwise?: S3Config | undefined;
  /** The same of the status page. */
  readonly webOtherwise?: WebConfig | undefined;
  readonly strong: boolean;
  /** Also for other users than the one who mounts; always so for root. */
  readonly allowOther?: boolean;
  readonly log: PoolLog;
  /** What the start is busy with, in lower case. */
  readonly onStep: (what: string) => void;
}

export interface MountEnd {
  /** Why some staged bytes are not committed; undefined if all are. They are safe in the cache. */
  readonly uncommitted: Error | undefined;
}

export class MountDaemon {
  /** Resolves when the pool is closed and every client has its answer: the process may end. */
  readonly ended: Promise<MountEnd>;
  readonly #pool: OpenPool;
  readonly #session: MountSession;
  readonly #versions: VersionedMount | undefined;
  readonly #options: MountOptions;
  readonly #listeners = new Set<OnProgress>();
  #server: ControlServer | undefined;
  #s3: S3Face | undefined;
  #web: WebFace | undefined;
  #watching: Watch | undefined;
  /** As cairn.toml has it. */
  #s3Config: S3Config | undefined;
  #openS3: Context['openS3'];
  #configWatch: ConfigWatch | undefined;
  #idleMemory: IdleMemory | undefined;
  #stopping: Promise<Error | undefined> | undefined;
  #lazy = false;
  #unmounted = false;
  #resolveEnded!: (end: MountEnd) => void;

  /** LOCKED with pid and mount point if another daemon has the pool; otherwise what the pool, the mount or the socket throws, with nothing left behind. */
  static async start(context: Context, options: MountOptions): Promise<MountDaemon> {
    const { poolDirectory, mountpoint, config, log } = options;
    const own = [poolDirectory, config.metaDirectory, config.cache.directory, ...config.disks.map((d) => d.directory)];
    if (await prepareMountpoint(context, mountpoint, own)) {
      log.warn({ mountpoint }, 'detached a dead mount: the daemon before this one had been killed');
    }
    options.onStep('opening the pool');
    const mode = options.strong ? 'strong' : config.mode;
    const pool = await context.pools.open(poolDirectory, { mode, log }).catch(async (error: unknown) => {
      throw hasCode(error, 'LOCKED') ? await explainLock(poolDirectory, error) : error;
    });
    let session: MountSession | undefined;
    let server: ControlServer | undefined;
    let watching: Watch | undefined;
    try {
      options.onStep('mounting');
      const { allowOther = false } = options;
      const source = mountSource(poolDirectory);
      // Also where nothing is served as S3 yet: that may begin while it is mounted.
      const versions = pool.objects && (await context.openVersions(pool.vfs, pool.objects));
      if (pool.objects !== undefined && (await hasBuckets(pool.objects))) await versions?.refresh();
      const vfs = versions?.vfs ?? pool.vfs;
      session = await context.mounter.mount(vfs, { mountpoint, source, allowOther, log });
      const daemon = new MountDaemon(pool, { session, versions }, context, options);
      const { notify, web } = config;
      watching = await context.watchPool(daemon.#control(), { poolDirectory, notify, log });
      daemon.#watching = watching;
      const parts = daemon.#apiParts(watching);
      server = await ControlServer.start(poolDirectory, parts, context.clock);
      daemon.#server = server;
      if ((config.s3 ?? options.s3Otherwise) !== undefined) options.onStep('serving S3');
      if (session.watcher !== undefined && pool.objects !== undefined) pool.objects.watcher = session.watcher;
      await daemon.#serveS3(config.s3);
      const page = web ?? options.webOtherwise;
      if (page !== undefined) daemon.#web = await openPage(context, parts, page, log);
      daemon.#watch();
      daemon.#watchConfig(context.clock);
      if (context.openMemory !== undefined) {
        daemon.#idleMemory = new IdleMemory(context.clock, await context.openMemory(), () => pool.releaseMemory?.());
        daemon.#idleMemory.start();
      }
      log.info({ poolDirectory, mountpoint, mode }, 'mounted');
      return daemon;
    } catch (error) {
      server?.stopListening();
      await watching?.close();
      await session?.unmount(true).catch(() => {});
      await pool.close().catch(() => {});
      throw error;
    }
  }

  private constructor(
    pool: OpenPool,
    { session, versions }: { session: MountSession; versions: VersionedMount | undefined },
    context: Context,
    options: MountOptions,
  ) {
    this.#pool = pool;
    this.#versions = versions;
    this.#openS3 = context.openS3;
    this.#session = session;
    this.#options = options;
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
  }

  /** From here on an end of the mount is an end of the daemon. */
  #watch(): void {
    void this.#session.ended.then(() => {
      this.#unmounted = true;
      if (this.#stopping !== undefined) return;
      this.#options.log.info({}, 'unmounted from outside');
      void this.stop(() => {});
    });
  }

  #apiParts({ monitor }: Watch): ApiParts {
    const s3 = (): S3Face | undefined => this.#s3;
    return {
      control: this.#control(),
      monitor,
      // The S3 face is opened later than this is served.
      get s3() {
        return s3();
      },
      webLink: () => this.#web?.link,
      unmount: (onProgress) => this.#unmount(onProgress),
      onFailure: (what, error) => this.#options.log.error({ err: error }, what),
    };
  }

  /** Makes the S3 face what cairn.toml says. If it cannot be, the one from before goes on, and this rejects. */
  async #serveS3(wanted: S3Config | undefined): Promise<void> {
    const { poolDirectory, log, s3Otherwise } = this.#options;
    const versions = this.#versions;
    const onVersioning = versions && (() => versions.refresh());
    const { objects } = this.#pool;
    if (objects === undefined) return;
    const open = async (config: S3Config | undefined): Promise<void> => {
      const said = config ?? s3Otherwise;
      this.#s3 =
        said === undefined
          ? undefined
          : await this.#openS3(objects, { poolDirectory, config: said, log, onVersioning });
      if (said !== undefined) await onVersioning?.();
      this.#s3Config = config;
    };
    // Both may have the same address.
    await this.#s3?.close();
    this.#s3 = undefined;
    try {
      await open(wanted);
    } catch (error) {
      await open(this.#s3Config).catch((again: unknown) => log.error({ err: again }, 'S3 is not served any more'));
      throw error;
    }
  }

  #watchConfig(clock: Context['clock']): void {
    const { settings } = this.#pool;
    if (settings === undefined) return;
    const { poolDirectory, log } = this.#options;
    const user = {
      current: () => ({ ...settings.current, s3: this.#s3Config }),
      apply: async (config: PoolConfig) => {
        // What can fail comes first.
        if (this.#stopping === undefined && !isDeepStrictEqual(config.s3, this.#s3Config))
          await this.#serveS3(config.s3);
        settings.apply(config);
      },
    };
    this.#configWatch = new ConfigWatch({ poolDirectory, user, log, clock });
    this.#configWatch.start();
  }

  /** What the pool says of itself, with what only the daemon knows. */
  #control(): PoolControl {
    const { control } = this.#pool;
    return {
      jobs: control.jobs,
      disks: control.disks,
      status: async () => {
        const status = await control.status();
        const findings = [...status.findings, ...(this.#configWatch?.findings() ?? [])];
        return { ...status, findings, ...this.#whereabouts() };
      },
      state: (path) => control.state(path),
      files: (path, after, limit) => control.files(path, after, limit),
      capacity: () => control.capacity(),
      activity: () => control.activity(),
      forecast: (request, signal) => control.forecast(request, signal),
      commit: (paths, onProgress, signal) => control.commit(paths, onProgress, signal),
      check: (request, onProgress, signal) => control.check(request, onProgress, signal),
    };
  }

  #whereabouts(): Pick<PoolStatus, 'mountpoint' | 'pid'> {
    return { mountpoint: this.#unmounted ? null : this.#options.mountpoint, pid: process.pid };
  }

  /** Where the pool is served as S3; undefined if it is not. */
  get s3Endpoint(): string | undefined {
    return this.#s3?.endpoint;
  }

  /** What opens the status page; undefined if it is not served. */
  get webLink(): string | undefined {
    return this.#web?.link;
  }

  status(): Promise<PoolStatus> {
    return this.#control().status();
  }

  /** As a signal asks: open files do not prevent it. Resolves when the pool is closed. */
  async stop(onProgress: OnProgress): Promise<void> {
    this.#lazy = true;
    try {
      await this.#join(onProgress);
    } catch (error) {
      if (!hasCode(error, 'BUSY')) throw error;
      // It had joined an unmount that was about to be refused; the next one is lazy.
      await this.#join(onProgress);
    }
  }

  /** Lets go of the mount at once, without commit: what is staged stays in the cache. */
  async abandon(): Promise<void> {
    this.#options.log.warn({}, 'told to end without commit: what is staged stays in the cache');
    if (!this.#unmounted) await this.#session.unmount(true).catch(() => {});
  }

  async #unmount(onProgress: OnProgress): Promise<void> {
    const uncommitted = await this.#join(onProgress);
    if (uncommitted === undefined) return;
    throw new CairnError('IO', `unmounted, but not everything is committed: ${errorLine(uncommitted)}`, {
      hint: 'it is safe in the cache and will be committed when the pool is mounted again',
      cause: uncommitted,
    });
  }

  async #join(onProgress: OnProgress): Promise<Error | undefined> {
    this.#listeners.add(onProgress);
    try {
      this.#stopping ??= this.#stop();
      return await this.#stopping;
    } finally {
      this.#listeners.delete(onProgress);
    }
  }

  /** Returns why not everything could be committed. Rejects only with BUSY: then all goes on as before. */
  async #stop(): Promise<Error | undefined> {
    const { log, mountpoint } = this.#options;
    const tell: OnProgress = (progress) => {
      for (const listener of this.#listeners) listener(progress);
    };
    let uncommitted: Error | undefined;
    try {
      await this.#pool.control.commit(['/'], tell);
    } catch (error) {
      log.error({ err: error }, 'the commit before unmounting failed');
    }
    try {
      if (!this.#unmounted) await this.#leave(mountpoint);
    } catch (error) {
      if (hasCode(error, 'BUSY')) {
        this.#stopping = undefined;
        throw error;
      }
      log.error({ err: error }, 'unmounting failed');
    }
    this.#idleMemory?.close();
    await this.#configWatch?.close();
    // Answers under way still use the pool.
    await this.#web?.close();
    await this.#watching?.close();
    await this.#s3?.close().catch((error: unknown) => log.error({ err: error }, 'ending the S3 server failed'));
    // The socket goes before the locks do: who takes the locks next finds no other daemon answering.
    this.#server?.stopListening();
    try {
      await this.#pool.close(tell);
      log.info({}, 'closed');
    } catch (error) {
      uncommitted = error instanceof Error ? error : new Error(String(error));
      log.error({ err: error }, 'closing the pool failed');
    }
    void this.#finish(uncommitted);
    return uncommitted;
  }

  async #finish(uncommitted: Error | undefined): Promise<void> {
    await this.#server?.close();
    this.#resolveEnded({ uncommitted });
  }

  async #leave(mountpoint: string): Promise<void> {
    try {
      await this.#session.unmount(false);
    } catch (error) {
      if (!hasCode(error, 'BUSY') || !this.#lazy) throw error;
      this.#options.log.warn(
        { mountpoint },
        'files are still open: detaching; programs that have them open get errors',
      );
      await writeBack(mountpoint);
      await this.#session.unmount(true);
      return;
    }
    // Answers under way still use the pool.
    await this.#session.ended;
  }
}

/** A pool without its page is still a pool: only what is wrong in cairn.toml stops the start. */
async function openPage(
  context: Context,
  parts: ApiParts,
  config: WebConfig,
  log: PoolLog,
): Promise<WebFace | undefined> {
  try {
    const web = await context.openWeb(parts, config);
    log.info({ address: web.address }, 'serving the status page');
    return web;
  } catch (error) {
    if (hasCode(error, 'CONFIG')) throw error;
    log.error({ err: error }, 'the status page is not served');
    return undefined;
  }
}

async function explainLock(poolDirectory: string, locked: CairnError): Promise<CairnError> {
  const status = await new ControlClient(poolDirectory).status().catch(() => undefined);
  if (status === undefined) return locked;
  const { pid, mountpoint } = status;
  return mountpoint === null
    ? new CairnError('LOCKED', `the pool ${poolDirectory} is in use by pid ${pid}`, { cause: locked })
    : new CairnError('LOCKED', `the pool ${poolDirectory} is already mounted by pid ${pid} at ${mountpoint}`, {
        hint: `unmount it first with \`cairn unmount ${mountpoint}\``,
        cause: locked,
      });
}

/** True if something of the tree has been served as S3. */
async function hasBuckets(tree: ObjectTree): Promise<boolean> {
  for (let after = ''; ; ) {
    const page = await tree.list(tree.root, after, 1000);
    for (const { key, ino, isDirectory } of page) {
      after = key;
      if (isDirectory && (await tree.attributes(ino)).has(BUCKET_ATTRIBUTE)) return true;
    }
    if (page.length < 1000) return false;
  }
}
