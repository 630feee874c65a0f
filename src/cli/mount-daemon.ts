/**
 * A mounted pool from start to end: dead mount detached, pool opened, mounted, control socket listening; and back in the
 * order that loses nothing: commit while everything still works, unmount, stop listening, close the pool.
 *
 * It ends for three reasons that share one path: `cairn unmount` (refused while files are open), a signal (files that are
 * open are detached, after what the kernel holds of them was written back), and an unmount by somebody else.
 */

import { asError, CairnError, hasCode, messageOf } from '../errors/cairn-error.js';
import type { ApiParts } from '../http/api.js';
import { ControlClient } from '../http/control-client.js';
import { ControlServer } from '../http/control-server.js';
import type { Clock } from '../io/clock.js';
import { openFileLimit } from '../io/open-file-limit.js';
import type { PoolConfig } from '../pool/config.js';
import type { S3Config, WebConfig } from '../pool/face-config.js';
import { NO_ACCESS_TIMES, RELATIVE_ACCESS_TIMES } from '../vfs/access-times.js';
import { BUCKET_ATTRIBUTE } from '../vfs/hidden-name.js';
import type { ObjectTree } from '../vfs/object-tree.js';
import { ReadOnlyVfs } from '../vfs/read-only-vfs.js';
import type { CommitProgress, PoolControl, PoolStatus } from '../vfs/reports.js';
import { rememberCachePlace, requireCachePlace } from './cache-place.js';
import { ConfigWatch } from './config-watch.js';
import type { CliContext } from './context.js';
import { Faces } from './faces.js';
import { IdleMemory } from './idle-memory.js';
import { accessWords, type MountChoices } from './mount-options.js';
import { prepareMountpoint } from './mountpoint.js';
import type { MountSession, OpenPool, PoolLog, Watch } from './pool-opener.js';
import { SharedDevices } from './shared-devices.js';
import { errorLine } from './show-error.js';

/** Ends by itself in a moment where nobody else has the mount. */
const HELD_ELSEWHERE_MS = 10_000;

/** What is asked about a file must be answered also where its writes wait for a disk. */
const STATE_PATIENCE_MS = 5000;
const LAST_WRITES_MS = 60_000;

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

export interface MountOptions extends MountChoices {
  /** Absolute, without symbolic links; so is the mount point. */
  readonly poolDirectory: string;
  readonly mountpoint: string;
  readonly config: PoolConfig;
  /** Served where cairn.toml says nothing of S3. */
  readonly s3Otherwise?: S3Config | undefined;
  /** The same of the status page. */
  readonly webOtherwise?: WebConfig | undefined;
  readonly log: PoolLog;
  /** What the start is busy with, in lower case. */
  readonly onStep: (what: string) => void;
}

export interface MountEnd {
  /** Why some staged bytes are not committed; undefined if all are. They are safe in the cache. */
  readonly uncommitted: Error | undefined;
  /** Why the mount is still there, dead as soon as this process is; undefined if it is gone. */
  readonly stillMounted: Error | undefined;
}

export class MountDaemon {
  /** Resolves when the pool is closed and every client has its answer: the process may end. */
  readonly ended: Promise<MountEnd>;
  readonly #pool: OpenPool;
  readonly #session: MountSession;
  readonly #faces: Faces;
  readonly #devices = new SharedDevices();
  readonly #options: MountOptions;
  readonly #clock: Clock;
  readonly #listeners = new Set<OnProgress>();
  #server: ControlServer | undefined;
  #watching: Watch | undefined;
  #configWatch: ConfigWatch | undefined;
  #idleMemory: IdleMemory | undefined;
  #stopping: Promise<MountEnd> | undefined;
  #lazy = false;
  #unmounted = false;
  #resolveEnded!: (end: MountEnd) => void;

  /** LOCKED with pid and mount point if another daemon has the pool; otherwise what the pool, the mount or the socket throws, with nothing left behind. */
  static async start(context: Context, options: MountOptions): Promise<MountDaemon> {
    const { poolDirectory, mountpoint, config, log } = options;
    const writeback = isWriteback(options);
    requireOpenFiles(openFileLimit(), config.disks.length);
    const own = [poolDirectory, config.metaDirectory, config.cache.directory, ...config.disks.map((d) => d.directory)];
    if (await prepareMountpoint(context, mountpoint, own)) {
      log.warn({ mountpoint }, 'detached a dead mount: the daemon before this one had been killed');
    }
    const mounts = context.mountTable();
    await requireCachePlace(poolDirectory, config.cache.directory, mounts);
    options.onStep('opening the pool');
    const mode = options.strong ? 'strong' : config.mode;
    const readOnly = isReadOnly(options);
    const accessTimes = readOnly ? NO_ACCESS_TIMES : (options.accessTimes ?? RELATIVE_ACCESS_TIMES);
    const pool = await context.pools
      .open(poolDirectory, { mode, accessTimes, kernelTimes: writeback, log })
      .catch(async (error: unknown) => {
        throw hasCode(error, 'LOCKED') ? await explainLock(poolDirectory, error) : error;
      });
    await rememberCachePlace(poolDirectory, config.cache.directory, mounts).catch((error: unknown) =>
      log.warn({ error }, 'where the cache is could not be written down'),
    );
    let session: MountSession | undefined;
    let server: ControlServer | undefined;
    let watching: Watch | undefined;
    let faces: Faces | undefined;
    try {
      options.onStep('mounting');
      const { allowOther = false, noExec = false } = options;
      // Also where nothing is served as S3 yet: that may begin while it is mounted.
      const versions = pool.objects && (await context.openVersions(pool.vfs, pool.objects));
      if (pool.objects !== undefined && (await hasBuckets(pool.objects))) await versions?.refresh();
      const vfs = readOnly ? new ReadOnlyVfs(pool.vfs) : (versions?.vfs ?? pool.vfs);
      const passthrough = readOnly && config.mount?.passthrough !== 'off';
      const accessOptions = accessWords(accessTimes);
      const how = {
        mountpoint,
        source: poolDirectory,
        allowOther,
        readOnly,
        noExec,
        accessOptions,
        passthrough,
        writeback,
        log,
      };
      session = await context.mounter.mount(vfs, how);
      const { objects } = pool;
      const { s3Otherwise, webOtherwise } = options;
      faces = new Faces({ context, poolDirectory, objects, versions, s3Otherwise, webOtherwise, log });
      const daemon = new MountDaemon(pool, session, faces, options, context.clock);
      const { notify } = config;
      watching = await context.watchPool(daemon.#control(), { poolDirectory, notify, log });
      daemon.#watching = watching;
      const parts = daemon.#apiParts(watching);
      server = await ControlServer.start(poolDirectory, parts, context.clock);
      daemon.#server = server;
      if (session.watcher !== undefined && objects !== undefined) objects.watcher = session.watcher;
      if ((config.s3 ?? s3Otherwise) !== undefined) options.onStep('serving S3');
      await faces.start(config, parts, watching);
      daemon.#watch();
      daemon.#watchConfig(context.clock);
      if (context.openMemory !== undefined) {
        daemon.#idleMemory = new IdleMemory(context.clock, await context.openMemory(), () => pool.releaseMemory?.());
        daemon.#idleMemory.start();
      }
      log.info({ poolDirectory, mountpoint, mode, readOnly, writeback }, 'mounted');
      return daemon;
    } catch (error) {
      server?.stopListening();
      await faces?.close();
      await watching?.close();
      await session?.unmount(true).catch(() => {});
      await pool.close().catch(() => {});
      throw error;
    }
  }

  private constructor(pool: OpenPool, session: MountSession, faces: Faces, options: MountOptions, clock: Clock) {
    this.#pool = pool;
    this.#session = session;
    this.#faces = faces;
    this.#options = options;
    this.#clock = clock;
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
    const faces = this.#faces;
    return {
      control: this.#control(),
      monitor,
      // The S3 face is opened later than this is served, and may become another one.
      get s3() {
        return faces.s3;
      },
      webLink: () => faces.web?.link,
      unmount: (onProgress) => this.#unmount(onProgress),
      onFailure: (what, error) => this.#options.log.error({ err: error }, what),
    };
  }

  #watchConfig(clock: Context['clock']): void {
    const { settings } = this.#pool;
    if (settings === undefined) return;
    const { poolDirectory, log } = this.#options;
    const user = {
      current: () => ({ ...settings.current, ...this.#faces.config }),
      apply: async (config: PoolConfig) => {
        // What can fail comes first.
        if (this.#stopping === undefined) await this.#faces.become(config);
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
        const lost = this.#session.finding?.();
        const own = lost === undefined ? [] : [lost];
        const findings = [
          ...status.findings,
          ...own,
          ...this.#faces.findings(),
          ...(this.#configWatch?.findings() ?? []),
        ];
        const protection = `${status.protection}${this.#devices.sentences(status)}`;
        return { ...status, findings, protection, ...this.#whereabouts() };
      },
      state: async (path) => {
        await this.#handOver(STATE_PATIENCE_MS);
        return control.state(path);
      },
      files: (path, after, limit) => control.files(path, after, limit),
      policy: (path) => control.policy(path),
      setPolicy: (path, change) => control.setPolicy(path, change),
      capacity: () => control.capacity(),
      activity: () => control.activity(),
      forecast: (request, signal) => control.forecast(request, signal),
      commit: async (paths, onProgress, signal) => {
        await this.#session.handOver?.();
        return control.commit(paths, onProgress, signal);
      },
      check: (request, onProgress, signal) => control.check(request, onProgress, signal),
    };
  }

  #whereabouts(): Pick<PoolStatus, 'mountpoint' | 'pid' | 'readOnly' | 'passthrough' | 'writeback'> {
    return {
      mountpoint: this.#unmounted ? null : this.#options.mountpoint,
      readOnly: isReadOnly(this.#options),
      passthrough: this.#session.isPassthrough === true,
      writeback: this.#session.isWriteback === true,
      pid: process.pid,
    };
  }

  get mountpoint(): string {
    return this.#options.mountpoint;
  }

  /** Where the pool is served as S3; undefined if it is not. */
  get s3Endpoint(): string | undefined {
    return this.#faces.s3?.endpoint;
  }

  /** What opens the status page; undefined if it is not served. */
  get webLink(): string | undefined {
    return this.#faces.web?.link;
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
    const { uncommitted, stillMounted } = await this.#join(onProgress);
    if (stillMounted !== undefined) throw leftMounted(this.#options.mountpoint, stillMounted, uncommitted);
    if (uncommitted === undefined) return;
    throw new CairnError('IO', `unmounted, but not everything is committed: ${errorLine(uncommitted)}`, {
      hint: 'it is safe in the cache and will be committed when the pool is mounted again',
      cause: uncommitted,
    });
  }

  async #join(onProgress: OnProgress): Promise<MountEnd> {
    this.#listeners.add(onProgress);
    try {
      this.#stopping ??= this.#stop();
      return await this.#stopping;
    } finally {
      this.#listeners.delete(onProgress);
    }
  }

  /** Rejects only with BUSY: then all goes on as before. */
  async #stop(): Promise<MountEnd> {
    const { log, mountpoint } = this.#options;
    const tell: OnProgress = (progress) => {
      for (const listener of this.#listeners) listener(progress);
    };
    let uncommitted: Error | undefined;
    let stillMounted: Error | undefined;
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
      stillMounted = asError(error);
      log.error({ err: error, mountpoint }, 'unmounting failed: the mount stays, dead, when this process has ended');
    }
    this.#idleMemory?.close();
    await this.#configWatch?.close();
    // Answers under way still use the pool.
    await this.#faces.close();
    await this.#watching?.close();
    // The socket goes before the locks do: who takes the locks next finds no other daemon answering.
    this.#server?.stopListening();
    try {
      await this.#pool.close(tell);
      log.info({}, 'closed');
    } catch (error) {
      uncommitted = asError(error);
      log.error({ err: error }, 'closing the pool failed');
    }
    const end = { uncommitted, stillMounted };
    void this.#finish(end);
    return end;
  }

  async #finish(end: MountEnd): Promise<void> {
    await this.#server?.close();
    this.#resolveEnded(end);
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
      await this.#handOver(LAST_WRITES_MS);
      await this.#session.unmount(true);
      return;
    }
    // Answers under way still use the pool. A mount namespace of its own, such as a container's, may have copied the mount and keep it for as long as it lives.
    const isOver = await this.#endsWithin(this.#session.ended, HELD_ELSEWHERE_MS);
    if (!isOver)
      this.#options.log.warn(
        { mountpoint },
        'unmounted here, but a container or another mount namespace still has it: programs in there get errors',
      );
  }

  /** Has what programs have written as far as it comes in this time. */
  async #handOver(patienceMs: number): Promise<void> {
    const { log } = this.#options;
    const handedOver = (this.#session.handOver?.() ?? Promise.resolve()).catch((error: unknown) =>
      log.error({ err: error }, messageOf(error)),
    );
    if (!(await this.#endsWithin(handedOver, patienceMs)))
      log.warn({ patienceMs }, 'what programs have written has not come from the kernel in time');
  }

  /** Whether it resolves within this time. It never rejects. */
  #endsWithin(what: Promise<void>, timeoutMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = this.#clock.after(timeoutMs, () => resolve(false));
      void what.then(() => {
        timer.cancel();
        resolve(true);
      });
    });
  }
}

/** With fewer the pool takes its own trouble for that of its devices. CONFIG. */
export function requireOpenFiles(limit: number, disks: number): void {
  const needed = 128 + 40 * disks;
  if (limit >= needed) return;
  throw new CairnError(
    'CONFIG',
    `only ${limit} files may be open in this process, and a pool of ${disks} disks needs ${needed}`,
    {
      hint: 'raise the limit, best to 65536 or more: `ulimit -n`, LimitNOFILE= of a service, or nofile in /etc/security/limits.conf',
    },
  );
}

function isReadOnly({ readOnly, config }: MountOptions): boolean {
  return readOnly === true || config.mount?.readOnly === true;
}

/** `--read-only` is stronger than what cairn.toml says of writing. INVALID where both are asked for in one place. */
function isWriteback(options: MountOptions): boolean {
  const { writeback, config } = options;
  if (!isReadOnly(options)) return writeback === true || config.mount?.writeback === true;
  if (writeback !== true) return false;
  throw new CairnError('INVALID', '--writeback is for mounts that are written to, and this one is read-only', {
    hint: 'mount it without --writeback, or without --read-only and read_only = true in its cairn.toml',
  });
}

/** What a person must know of a mount that could not be taken away: what of the data is safe, and how to get rid of it. */
export function leftMounted(mountpoint: string, why: Error, uncommitted: Error | undefined): CairnError {
  const data =
    uncommitted === undefined
      ? 'everything is committed'
      : `not everything is committed (${errorLine(uncommitted)}); the rest is safe in the cache`;
  return new CairnError('IO', `${data}, but the mount at ${mountpoint} could not be taken away: ${errorLine(why)}`, {
    hint: `programs get errors there; detach it with \`umount -l ${mountpoint}\`, or mount the pool again: \`cairn mount\` does that itself`,
    cause: why,
  });
}

async function explainLock(poolDirectory: string, locked: CairnError): Promise<CairnError> {
  const status = await new ControlClient(poolDirectory).status().catch(() => undefined);
  if (status === undefined) return locked;
  const { pid, mountpoint } = status;
  return mountpoint === null
    ? new CairnError('LOCKED', `the pool ${poolDirectory} is in use by pid ${pid}`, {
        hint: 'it is being unmounted: wait until that has ended',
        cause: locked,
      })
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
