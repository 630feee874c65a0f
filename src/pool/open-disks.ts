/**
 * Opens the disks of a pool by what is on them (disk-survey.ts), and keeps the pool's view of which there are: disks go while the pool is
 * open, and are taken in again when they return (disk-watch.ts).
 *
 * Each disk has its files through a guard of its own (src/io/io-guard.ts). One that hangs is let go of if the pool can do without it; where more hang
 * than may be lost, they are waited for: to give them up would fail what is only late.
 */
import { join } from 'node:path';
import type { JournalDisks } from '../commit/journal.js';
import type { Disk, DiskIdentity, LogEnds } from '../disks/disk.js';
import { readIdentity, readWritableIdentity } from '../disks/disk-identity.js';
import { openDisk } from '../disks/open-disk.js';
import { CairnError, systemCode } from '../errors/cairn-error.js';
import type { FileIo } from '../io/file-io.js';
import { GuardedFileIo } from '../io/guarded-file-io.js';
import { IoGuard } from '../io/io-guard.js';
import type { DiskReport } from '../vfs/reports.js';
import type { DiskConfig, PoolConfig } from './config.js';
import { DiskSurvey } from './disk-survey.js';
import type { Machine } from './machine.js';
import type { PoolLog } from './pool-log.js';

interface Place {
  readonly config: DiskConfig;
  /** Where the disk was found last; where it is listed until then. */
  directory: string;
  disk: Disk | undefined;
  /** Why it could not be opened, or why it was let go of. */
  failure: CairnError | undefined;
  /** The disk was let go of to be opened again: over when nothing uses its files any more. */
  leaving: Promise<void> | undefined;
}

const NEVER = new Promise<void>(() => undefined);

/** What the process lacks says nothing about a disk. */
const OWN_TROUBLE = new Set(['EMFILE', 'ENFILE', 'ENOMEM']);

export class PoolDisks implements JournalDisks {
  /** Data disks by their number in the map. */
  readonly byNumber = new Map<number, Disk | undefined>();
  readonly #places: Place[] = [];
  readonly #parts: { readonly machine: Machine; readonly log: PoolLog };
  /** By directory. */
  readonly #guards = new Map<string, { readonly guard: IoGuard; readonly io: FileIo }>();
  readonly #returned: ((disk: Disk, isOlder: boolean) => void)[] = [];
  /** A shard came or went on some disk. */
  onShard: ((chunk: string, change: 'put' | 'gone') => void) | undefined;
  /** Some disk can be read no more, or can again. */
  onReach: (() => void) | undefined;
  /** How many data disks may be lost. */
  tolerance = 0;
  /** Asked before a disk that returned is taken in again; brings it up to what it must have at once. Rejects if it cannot be taken. */
  admit: ((disk: Disk) => Promise<void>) | undefined;
  /** Where the cache was found: where it is listed, unless its device and a disk's were swapped. */
  cacheDirectory: string;
  #config: PoolConfig;
  #closed = false;
  /** Every listed disk has been looked for once. */
  #complete = false;

  private constructor(machine: Machine, config: PoolConfig, log: PoolLog) {
    this.#parts = { machine, log };
    this.#config = config;
    this.cacheDirectory = config.cache.directory;
  }

  /** LOCKED if another process has one of them; other failures leave the disk out. */
  static async open(machine: Machine, config: PoolConfig, log: PoolLog): Promise<PoolDisks> {
    const disks = new PoolDisks(machine, config, log);
    try {
      const survey = await DiskSurvey.take((directory) => disks.#ioOf(directory), config);
      disks.cacheDirectory = survey.cacheDirectory;
      for (const disk of config.disks) disks.#add(await disks.#openPlace(disk, survey));
      disks.#complete = true;
    } catch (error) {
      await disks.close();
      throw error;
    }
    return disks;
  }

  #add(place: Place): void {
    this.#places.push(place);
    if (place.config.role === 'data') this.byNumber.set(place.config.number, place.disk);
  }

  async #openPlace(config: DiskConfig, survey: DiskSurvey): Promise<Place> {
    const place: Place = {
      config,
      directory: config.directory,
      disk: undefined,
      failure: undefined,
      leaving: undefined,
    };
    try {
      place.directory = survey.directoryOf(config);
      place.disk = await this.#openDisk(place);
    } catch (error) {
      if (!(error instanceof CairnError) || error.code === 'LOCKED') throw error;
      this.#parts.log.error({ disk: config.directory, code: error.code }, error.message);
      place.failure = error;
    }
    return place;
  }

  async #openDisk({ config, directory }: Place, unsure?: LogEnds): Promise<Disk> {
    const { machine, log } = this.#parts;
    const { clock } = machine;
    const io = this.#ioOf(directory);
    await this.#watchDevice(directory);
    const expected = { pool: this.#config.pool, uuid: config.uuid, role: config.role };
    const indexPath = machine.indexPath(directory, config.uuid);
    const disk = await openDisk(io, directory, expected, {
      clock,
      ...(indexPath !== undefined && { indexPath }),
      ...(unsure !== undefined && { unsure }),
    });
    for (const line of disk.openReport) log.warn({ disk: directory }, line);
    if (directory !== config.directory)
      log.warn(
        { disk: directory, listed: config.directory },
        `the disk that cairn.toml lists at ${config.directory} was found at ${directory} and is used there; correct cairn.toml or the mounts`,
      );
    disk.onStateChange = (changed) => {
      log.error({ disk: directory, state: changed.state }, changed.stateReason ?? 'the disk is online');
      if (changed.state === 'offline') this.onReach?.();
    };
    disk.onShard = (chunk, change) => this.onShard?.(chunk, change);
    return disk;
  }

  /** The files of a disk. */
  #ioOf(directory: string): FileIo {
    const { io, clock, deviceActivity } = this.#parts.machine;
    if (deviceActivity === undefined || directory === this.#config.cache.directory) return io;
    let guarded = this.#guards.get(directory);
    if (guarded === undefined) {
      const guard = new IoGuard({
        clock,
        name: `the device of ${directory}`,
        mayHang: () => this.#mayHang(directory),
        onHang: (reason) => this.#inUse(directory)?.disk?.lose(reason),
      });
      guarded = { guard, io: new GuardedFileIo(io, guard) };
      this.#guards.set(directory, guarded);
    }
    return guarded.io;
  }

  /** Another device may be mounted there than before. */
  async #watchDevice(directory: string): Promise<void> {
    const { machine } = this.#parts;
    const guard = this.#guards.get(directory)?.guard;
    if (guard === undefined) return;
    // Without a directory, opening the disk says what is wrong.
    const activity = await guard.run(async () => machine.deviceActivity?.(directory)).catch(() => undefined);
    guard.activity = activity ?? (() => undefined);
  }

  #inUse(directory: string): Place | undefined {
    return this.#places.find(
      ({ directory: its, disk }) => its === directory && disk !== undefined && disk.state !== 'offline',
    );
  }

  /** The pool goes on without it. */
  #mayHang(directory: string): boolean {
    // What it had to do is done.
    if (this.#closed) return true;
    if (!this.#complete) return this.#maySkip(directory);
    const config = this.#inUse(directory)?.config;
    // Nobody needs it until it answers.
    if (config === undefined) return true;
    // Commits go to the data disks where journal disks are too few.
    if (config.role !== 'data') return true;
    const absent = [...this.byNumber].filter(([number, disk]) => number !== config.number && disk?.state !== 'online');
    return absent.length < this.tolerance;
  }

  /** While the pool is being opened nobody knows yet how many disks it can do without: one it can, if there are others. The rest are waited for, since disks may spin up together. */
  #maySkip(directory: string): boolean {
    return (
      this.#config.disks.length > 1 &&
      [...this.#guards].every(([other, { guard }]) => other === directory || guard.hang === undefined)
    );
  }

  #hangs(directory: string): boolean {
    return this.#guards.get(directory)?.guard.hang !== undefined;
  }

  /** cairn.toml as it is: the disks that come and go are listed in it first. */
  get config(): PoolConfig {
    return this.#config;
  }

  /** The pool works with these settings from now on. */
  configure(settings: Pick<PoolConfig, 'commitDelayMs' | 'scrubDays' | 'whenDegraded'>): void {
    this.#config = { ...this.#config, ...settings };
  }

  /** Data disks as they are listed, whether they are there or not. */
  get listed(): readonly DiskConfig[] {
    return this.#places.flatMap(({ config }) => (config.role === 'data' ? [config] : []));
  }

  /** Takes in a disk that `config` lists, and this has not. Throws what opening it throws; nothing is changed then. */
  async join(config: PoolConfig, disk: DiskConfig): Promise<Disk> {
    const place: Place = {
      config: disk,
      directory: disk.directory,
      disk: undefined,
      failure: undefined,
      leaving: undefined,
    };
    const opened = await this.#openDisk(place);
    place.disk = opened;
    this.#config = config;
    this.#add(place);
    this.onReach?.();
    return opened;
  }

  /** Lets go of a disk that `config` lists no more, and nothing needs. Its directory is left as it is. */
  async part(config: PoolConfig, uuid: string): Promise<void> {
    this.#config = config;
    const at = this.#places.findIndex((place) => place.config.uuid === uuid);
    const [place] = at < 0 ? [] : this.#places.splice(at, 1);
    if (place === undefined) return;
    if (place.config.role === 'data') this.byNumber.delete(place.config.number);
    this.onReach?.();
    await this.#leave(place);
  }

  /** Called with every disk that was away and has been taken in again, from then on. `isOlder`: it lacks some of what it had when it went, as a copy does that was made before. */
  whenReturned(listener: (disk: Disk, isOlder: boolean) => void): void {
    this.#returned.push(listener);
  }

  /** Ids of the disks that are not online. */
  get absent(): string[] {
    return this.#places.flatMap(({ config, disk }) => (disk?.state === 'online' ? [] : [config.uuid]));
  }

  /**
   * Whether each disk is still where it was found, and may be written: one that is not goes offline. Of one that only reads no more is asked than
   * that it is there. Costs a few system calls per disk, which the kernel answers from memory: sleeping disks are not woken.
   */
  async probe(): Promise<void> {
    await Promise.all(
      this.#places.map(async (place) => {
        const { disk } = place;
        if (disk === undefined || disk.state === 'offline') return;
        const { state } = disk;
        if (state === 'suspect' && (this.#hangs(place.directory) || !this.#canSpare(place))) return;
        const reason = await this.#absence(place, state === 'online' ? readWritableIdentity : readIdentity);
        if (reason !== undefined && disk.state === state) disk.lose(reason);
      }),
    );
  }

  async #absence(
    { config: { uuid }, directory }: Place,
    identityIn: (io: FileIo, directory: string) => Promise<DiskIdentity>,
  ): Promise<string | undefined> {
    const io = this.#ioOf(directory);
    try {
      const { uuid: found } = await identityIn(io, directory);
      return found === uuid ? undefined : `another disk is in its place at ${directory}`;
    } catch (error) {
      if (!(error instanceof CairnError)) throw error;
      return OWN_TROUBLE.has(systemCode(error.cause) ?? '') ? undefined : error.message;
    }
  }

  /**
   * Takes a disk in again that is not online, if it is there. True if it is online now. Its log is checked as at every opening; what no sync
   * had confirmed before it went is written once more, since after a failed sync the page cache may say what the device does not have.
   */
  async reopen(uuid: string): Promise<boolean> {
    const place = this.#places.find(({ config }) => config.uuid === uuid);
    if (place === undefined || this.#closed) return false;
    if (place.disk?.state === 'online') return true;
    if (this.#hangs(place.directory)) return false;
    const { log } = this.#parts;
    try {
      // A file system that was unmounted while its files are open lives on, and mounting its device again would give the same dead one.
      if (place.disk?.state === 'offline') await this.#leave(place);
      const survey = await DiskSurvey.take((directory) => this.#ioOf(directory), this.#config);
      const directory = survey.directoryOf(place.config);
      // Where writing still fails it goes on serving reads as it is; nor does it leave when its reads cannot be done without.
      if (place.disk?.state === 'suspect') {
        if (!this.#canSpare(place)) return false;
        await tryWriting(this.#ioOf(directory), directory);
      }
      await this.#leave(place);
      if (this.#closed) return false;
      place.directory = directory;
      const before = place.disk?.logEnds;
      const disk = await this.#openDisk(place, before);
      const isOlder = before !== undefined && isBehind(disk.logEnds, before);
      try {
        await this.admit?.(disk);
        if (this.#closed) throw new CairnError('CLOSED', 'the pool is closed');
      } catch (error) {
        disk.onStateChange = undefined;
        await disk.close();
        throw error;
      }
      place.disk = disk;
      place.failure = undefined;
      place.leaving = undefined;
      if (place.config.role === 'data') this.byNumber.set(place.config.number, disk);
      log.warn({ disk: directory }, `the ${place.config.role} disk at ${directory} is back and in use again`);
      if (isOlder) log.warn({ disk: directory }, 'it is older than it was when it went: what it lacks is looked for');
      this.onReach?.();
      for (const listener of this.#returned) listener(disk, isOlder);
      return true;
    } catch (error) {
      if (!(error instanceof CairnError)) throw error;
      // What a suspect disk suffers from is known already, and says more.
      if (place.disk?.state !== 'suspect' && error.message !== place.failure?.message) {
        place.failure = error;
        log.warn({ disk: place.directory, code: error.code }, `not taken in again: ${error.message}`);
      }
      return false;
    }
  }

  /** So few are out of reach for readers that this one may be, too, for a moment. */
  #canSpare(place: Place): boolean {
    if (place.config.role !== 'data') return true;
    const unreadable = [...this.byNumber.values()].filter((disk) => disk === undefined || disk.state === 'offline');
    return unreadable.length < this.tolerance;
  }

  /** Nothing of its earlier life touches its files any more. */
  async #leave(place: Place): Promise<void> {
    const { disk } = place;
    if (disk === undefined) return;
    if (place.leaving === undefined) {
      disk.onStateChange = undefined;
      disk.onShard = undefined;
      place.failure = new CairnError('DISK_FAILED', disk.stateReason ?? 'it was let go of');
      disk.lose(place.failure.message);
      this.onReach?.();
      place.leaving = disk.close().catch((error: unknown) => {
        this.#parts.log.warn({ disk: place.directory, error }, 'a disk that failed was not closed cleanly');
      });
    }
    await place.leaving;
  }

  /** All that could be opened, whatever their role and state. */
  get opened(): Disk[] {
    return this.#places.flatMap(({ disk }) => (disk === undefined ? [] : [disk]));
  }

  data(): readonly Disk[] {
    return this.#online('data');
  }

  journal(): readonly Disk[] {
    return this.#online('journal');
  }

  #online(role: 'data' | 'journal'): Disk[] {
    const online: Disk[] = [];
    for (const { config, disk } of this.#places)
      if (disk?.state === 'online' && config.role === role) online.push(disk);
    return online;
  }

  missing(): readonly number[] {
    const missing: number[] = [];
    for (const [number, disk] of this.byNumber) if (disk?.state !== 'online') missing.push(number);
    return missing.sort((a, b) => a - b);
  }

  /** Every disk of the pool is here and takes writes. */
  get allOnline(): boolean {
    return this.allOnlineBut([]);
  }

  /** The same, but for data disks that are given up. */
  allOnlineBut(leaving: readonly number[]): boolean {
    return this.#places.every(
      ({ config, disk }) => disk?.state === 'online' || (config.role === 'data' && leaving.includes(config.number)),
    );
  }

  /** Which disks are missing, as a sentence, if they are so many that the others may not know every commit that was promised. */
  get tooMany(): string | undefined {
    const missing: string[] = [];
    for (const role of ['data', 'journal'] as const) {
      const places = this.#places.filter(({ config }) => config.role === role);
      // Fewer journal disks than that never hold the only copies of a commit.
      if (role === 'journal' && places.length <= this.tolerance) continue;
      const absent = places.filter(({ disk }) => disk?.state !== 'online');
      if (absent.length > this.tolerance)
        missing.push(
          ...absent.map(({ config, disk, failure }) => failure?.message ?? disk?.stateReason ?? config.directory),
        );
    }
    return missing.length === 0 ? undefined : missing.join('; ');
  }

  reports(): DiskReport[] {
    return this.#places.map(({ config, directory, disk, failure }) => {
      const space = disk?.space();
      return {
        number: config.number,
        uuid: config.uuid,
        role: config.role,
        directory,
        state: stateOf(disk, failure),
        reason: disk?.state === 'online' ? '' : withHint(failure, disk?.stateReason),
        capacityBytes: space?.capacityBytes ?? 0,
        liveBytes: space?.liveBytes ?? 0,
        freeBytes: space?.freeBytes ?? 0,
      };
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const disk of this.opened) disk.onStateChange = undefined;
    await Promise.allSettled(
      // Nobody can end what the device of a disk that hangs has under way.
      this.opened.map((disk) => Promise.race([disk.close(), this.#guards.get(disk.directory)?.guard.hung() ?? NEVER])),
    );
    if ([...this.#guards.values()].some(({ guard }) => guard.hang !== undefined)) this.#parts.machine.leaveThreads?.();
  }
}

/** Some of what was synced is not there. */
function isBehind(found: LogEnds, before: LogEnds): boolean {
  return (['data', 'journal'] as const).some((stream) => {
    const [is, was] = [found[stream], before[stream]];
    return is.segment < was.segment || (is.segment === was.segment && is.position < was.position);
  });
}

function stateOf(disk: Disk | undefined, failure: CairnError | undefined): DiskReport['state'] {
  if (disk?.state === 'online' || disk?.state === 'suspect') return disk.state;
  if (failure?.code === 'DISK_FOREIGN') return 'foreign';
  return disk?.state ?? 'missing';
}

function withHint(failure: CairnError | undefined, reason: string | undefined): string {
  if (failure === undefined) return reason ?? '';
  return failure.hint === undefined ? failure.message : `${failure.message}; ${failure.hint}`;
}

/** A write, its sync and a new name, as a log needs them; nothing stays. */
async function tryWriting(io: FileIo, directory: string): Promise<void> {
  const path = join(directory, 'write-test');
  await io.replaceFile(path, Buffer.alloc(4096, 1));
  await io.remove(path);
}
