/**
 * How long reads take on each disk, and how long a reader waits for one before it asks the others. A disk that takes far longer than its peers is sat out:
 * after three late answers in a row nobody asks it for a while, longer each time, unless what the others have is not enough; then one read tries again.
 * What counts as late comes from what the peers took lately, for reads of about the same size; so a pool that is busy all over is not slow.
 *
 * A disk may not answer at all. Each of its reads holds a thread of the pool until the kernel gives up, so a few of them are the limit: further ones
 * queue, and are late from the start, so that whoever can asks the others at once. None is refused: disks that spin up answer after seconds, all of them.
 * Nobody waits longer than a minute for an answer.
 */
import { asError, CairnError } from '../errors/cairn-error.js';
import type { Clock, Timer } from '../io/clock.js';

/** Reads of this many bytes and more are compared with each other, smaller ones too. */
const LARGE_BYTES = 128 * 1024;
const SAMPLES = 32;
/** With fewer of the peers' reads nothing is known yet. */
const SAMPLES_MIN = 8;
/** Late is what takes so many times as long as nine of ten reads of the peers. */
const FACTOR = 8;
const PATIENCE_MIN_MS = 30;
const PATIENCE_MAX_MS = 5_000;
const PATIENCE_UNKNOWN_MS = 1_000;
const LATE_IN_A_ROW = 3;
const SIT_OUT_MS = 5_000;
const SIT_OUT_MAX_MS = 300_000;
/** Reads of one disk that are under way at a time; further ones queue. Of the sixteen threads of the pool half stay for the others. */
const UNDER_WAY_MAX = 8;
/** With so many reads of one disk that are late and not over, another one is late from the start. */
const OVERDUE_MAX = 16;
const GIVE_UP_MS = 60_000;

/** Milliseconds of the last reads, small and large. */
type Samples = readonly [small: number[], large: number[]];

interface DiskPace {
  readonly samples: Samples;
  underWay: number;
  readonly queue: (() => void)[];
  overdue: number;
  lateInARow: number;
  sitOutMs: number;
  satOutUntilMs: number;
}

/** A read under way. */
export interface Reading {
  readonly answer: Promise<Uint8Array>;
  /** Resolves as soon as it is over, or late: true if it is over. */
  inTime(): Promise<boolean>;
}

export class ReadPace {
  readonly #clock: Clock;
  readonly #onSatOut: (disk: number) => void;
  readonly #disks = new Map<number, DiskPace>();

  /** `onSatOut`: the disk is sat out for the first time since it was quick. */
  constructor(clock: Clock, onSatOut: (disk: number) => void = () => {}) {
    this.#clock = clock;
    this.#onSatOut = onSatOut;
  }

  /** Nobody should ask it now who can ask others. */
  isSatOut(disk: number): boolean {
    const pace = this.#disks.get(disk);
    return pace !== undefined && (pace.overdue >= LATE_IN_A_ROW || this.#clock.monotonicMs() < pace.satOutUntilMs);
  }

  /** Begins a read. Its answer rejects with what the read fails with, or with IO if it does not come. */
  begin(disk: number, bytes: number, read: () => Promise<Uint8Array>): Reading {
    const pace = this.#paceOf(disk);
    const isBehind = pace.overdue >= OVERDUE_MAX;
    const startMs = this.#clock.monotonicMs();
    const size = bytes >= LARGE_BYTES ? 1 : 0;
    let isOver = false;
    let isLate = false;
    const patient: (() => void)[] = [];
    const tellPatient = (): void => {
      for (const tell of patient.splice(0)) tell();
    };
    const lateTimer = this.#clock.after(this.#patienceMs(disk, size), () => {
      // The answer may be there already: a thread that was busy runs its timers before it looks.
      setImmediate(() => {
        if (isOver) return;
        isLate = true;
        this.#late(disk, pace);
        tellPatient();
      });
    });
    let giveUp: Timer | undefined;
    const over = (): void => {
      isOver = true;
      lateTimer.cancel();
      giveUp?.cancel();
      if (isLate) pace.overdue -= 1;
      tellPatient();
    };
    const answer = new Promise<Uint8Array>((resolve, reject) => {
      const start = (): void => {
        pace.underWay += 1;
        read()
          .finally(() => {
            pace.underWay -= 1;
            pace.queue.shift()?.();
          })
          .then(
            (answered) => {
              over();
              this.#note(pace, size, this.#clock.monotonicMs() - startMs, isLate);
              resolve(answered);
            },
            (error: unknown) => {
              over();
              reject(asError(error));
            },
          );
      };
      if (pace.underWay < UNDER_WAY_MAX) start();
      else pace.queue.push(start);
      // Where it is under way it goes on holding its thread, and counts as overdue as long as it does.
      giveUp = this.#clock.after(GIVE_UP_MS, () => {
        const place = pace.queue.indexOf(start);
        if (place >= 0) {
          pace.queue.splice(place, 1);
          over();
        }
        reject(new SilentDisk(disk));
      });
    });
    // Whoever has the answer from elsewhere does not wait for this one.
    answer.catch(() => {});
    const inTime = async (): Promise<boolean> => {
      if (!isOver && !isLate && !isBehind) await new Promise<void>((resolve) => patient.push(resolve));
      return isOver;
    };
    return { answer, inTime };
  }

  #note(pace: DiskPace, size: 0 | 1, tookMs: number, wasLate: boolean): void {
    const samples = pace.samples[size];
    samples.push(tookMs);
    if (samples.length > SAMPLES) samples.shift();
    if (wasLate) return;
    pace.lateInARow = 0;
    pace.sitOutMs = 0;
  }

  #late(disk: number, pace: DiskPace): void {
    pace.overdue += 1;
    pace.lateInARow += 1;
    if (pace.lateInARow < LATE_IN_A_ROW) return;
    if (pace.sitOutMs === 0) this.#onSatOut(disk);
    pace.sitOutMs = Math.min(SIT_OUT_MAX_MS, pace.sitOutMs === 0 ? SIT_OUT_MS : 2 * pace.sitOutMs);
    pace.satOutUntilMs = this.#clock.monotonicMs() + pace.sitOutMs;
  }

  #patienceMs(disk: number, size: 0 | 1): number {
    const peers: number[] = [];
    for (const [number, { samples }] of this.#disks) if (number !== disk) peers.push(...samples[size]);
    if (peers.length < SAMPLES_MIN) return PATIENCE_UNKNOWN_MS;
    peers.sort((a, b) => a - b);
    const usual = peers[Math.floor(peers.length * 0.9)]!;
    return Math.min(PATIENCE_MAX_MS, Math.max(PATIENCE_MIN_MS, FACTOR * usual));
  }

  #paceOf(disk: number): DiskPace {
    let pace = this.#disks.get(disk);
    if (pace === undefined) {
      pace = { samples: [[], []], underWay: 0, queue: [], overdue: 0, lateInARow: 0, sitOutMs: 0, satOutUntilMs: 0 };
      this.#disks.set(disk, pace);
    }
    return pace;
  }
}

/** The disk did not answer: nothing is known of its shard. */
export class SilentDisk extends CairnError {
  constructor(disk: number) {
    super('IO', `disk ${disk} does not answer`, { hint: 'check the disk and its cable' });
  }
}
