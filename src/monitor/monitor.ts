/**
 * Watches a running pool: looks at it every second while somebody looks at the page, every five seconds otherwise, and makes of what it sees the history, the
 * events and the messages to those who watch. It only looks: nothing of the pool waits for it, and what it keeps (`monitor.json` in the pool directory) may be lost.
 */
import { join } from 'node:path';
import * as v from 'valibot';
import { assert, hasCode } from '../errors/cairn-error.js';
import type { Clock, Timer } from '../io/clock.js';
import type { FileIo } from '../io/file-io.js';
import type { PoolActivity, PoolControl, PoolStatus, RequestFigures } from '../vfs/reports.js';
import { eventsBetween, hotDisks, type NewEvent, sensorEvents } from './event-finder.js';
import { flowOf, HistoryRings, KeptHistory, type Sample } from './history.js';
import type { Notifier } from './notifier.js';
import {
  type DiskSensor,
  EVENT_KINDS,
  type History,
  type HistorySpan,
  type LiveMessage,
  type MonitorView,
  type PoolEvent,
  type Pulse,
} from './reports.js';
import type { Sensors } from './sensors.js';

const WATCHED_MS = 1_000;
const ALONE_MS = 5_000;
const KEEP_MS = 5 * 60_000;
const SENSORS_MS = 10 * 60_000;
const EVENTS_MAX = 200;
const FILE_NAME = 'monitor.json';

const Kept = v.strictObject({
  format: v.literal(1),
  history: KeptHistory,
  events: v.array(
    v.strictObject({
      id: v.number(),
      atMs: v.number(),
      kind: v.picklist(EVENT_KINDS),
      severity: v.picklist(['good', 'note', 'warning', 'alarm']),
      message: v.string(),
      advice: v.string(),
    }),
  ),
});

export interface MonitorParts {
  readonly control: Pick<PoolControl, 'status' | 'activity'>;
  readonly clock: Clock;
  readonly io: Pick<FileIo, 'readFile' | 'replaceFile'>;
  readonly poolDirectory: string;
  readonly sensors?: Sensors;
  warn(error: unknown, message: string): void;
}

export class Monitor implements MonitorView {
  readonly #parts: MonitorParts;
  readonly #rings = new HistoryRings();
  /** Oldest first. */
  #events: PoolEvent[] = [];
  #nextId = 1;
  #sensors: readonly DiskSensor[] = [];
  /** Of which it was told that they are too hot. */
  #hot: ReadonlySet<string> = new Set();
  readonly #watchers = new Set<(message: LiveMessage) => void>();
  #status: PoolStatus | undefined;
  #statusText = '';
  #activity: { readonly atMs: number; readonly figures: PoolActivity } | undefined;
  #timer: Timer | undefined;
  #looking: Promise<void> | undefined;
  #asking: Promise<void> | undefined;
  #askedMs = Number.NEGATIVE_INFINITY;
  #keptMs = 0;
  #closed = false;
  #notifier: Notifier | undefined;
  /** From which share of the room in use the pool counts as nearly full, in percent. */
  fullPercent: number;
  /** The same at the last look. */
  #fullPercentBefore: number;

  constructor(parts: MonitorParts, fullPercent: number) {
    this.#parts = parts;
    this.fullPercent = fullPercent;
    this.#fullPercentBefore = fullPercent;
    this.#keptMs = parts.clock.monotonicMs();
  }

  /** Takes up what an earlier run has kept, and looks for the first time. Never rejects. */
  async start(): Promise<void> {
    await this.#load();
    await this.#look();
    this.#plan();
  }

  /** Ends; what was seen is kept. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    this.#notifier?.close();
    await this.#looking;
    await this.#keep();
  }

  history(span: HistorySpan): History {
    return this.#rings.history(span, this.#parts.clock.nowMs());
  }

  events(): readonly PoolEvent[] {
    return [...this.#events].reverse();
  }

  sensors(): readonly DiskSensor[] {
    return this.#sensors;
  }

  watch(listener: (message: LiveMessage) => void): () => void {
    this.#watchers.add(listener);
    if (this.#status !== undefined) listener({ kind: 'status', status: this.#status });
    if (this.#sensors.length > 0) listener({ kind: 'sensors', sensors: this.#sensors });
    if (this.#watchers.size === 1) {
      // What was sent last, went to somebody else.
      this.#statusText = '';
      // The one who looks need not wait for the next slow turn.
      this.#timer?.cancel();
      this.#timer = undefined;
      void this.#look().finally(() => this.#plan());
    }
    return () => this.#watchers.delete(listener);
  }

  async testNotifications(): Promise<readonly { readonly way: string; readonly error: string | null }[]> {
    return (await this.#notifier?.test()) ?? [];
  }

  /** Who is told from here on; undefined: nobody. */
  notifyBy(notifier: Notifier | undefined): void {
    const before = this.#notifier;
    this.#notifier = notifier;
    if (before === undefined) return;
    if (notifier === undefined) before.close();
    else notifier.takeOver(before);
  }

  /** Something happened that no status tells. */
  report(event: NewEvent): void {
    const told: PoolEvent = { id: this.#nextId++, atMs: this.#parts.clock.nowMs(), ...event };
    this.#events.push(told);
    if (this.#events.length > EVENTS_MAX) this.#events.shift();
    this.#send({ kind: 'event', event: told });
    this.#notifier?.tell(told);
  }

  #send(message: LiveMessage): void {
    for (const listener of this.#watchers) listener(message);
  }

  #plan(): void {
    if (this.#closed) return;
    this.#timer ??= this.#parts.clock.after(this.#watchers.size > 0 ? WATCHED_MS : ALONE_MS, () => {
      this.#timer = undefined;
      void this.#look().finally(() => this.#plan());
    });
  }

  #look(): Promise<void> {
    this.#looking ??= this.#lookOnce()
      .catch((error: unknown) => this.#parts.warn(error, 'looking at the pool for its history failed'))
      .finally(() => {
        this.#looking = undefined;
      });
    return this.#looking;
  }

  async #lookOnce(): Promise<void> {
    const { control, clock } = this.#parts;
    const status = await control.status();
    if (this.#closed) return;
    this.#flow(control.activity(), status);
    const before = this.#status;
    this.#status = status;
    const { fullPercent } = this;
    const fullPercentBefore = this.#fullPercentBefore;
    this.#fullPercentBefore = fullPercent;
    for (const event of eventsBetween(before, status, fullPercent, fullPercentBefore)) this.report(event);
    this.#sendStatus(status);
    const now = clock.monotonicMs();
    if (now - this.#askedMs >= SENSORS_MS && this.#parts.sensors !== undefined) {
      this.#askedMs = now;
      this.#asking ??= this.#ask(status).finally(() => {
        this.#asking = undefined;
      });
    }
    if (now - this.#keptMs >= KEEP_MS) {
      this.#keptMs = now;
      await this.#keep();
    }
  }

  /** To those who watch, and only if it is another one than they have. */
  #sendStatus(status: PoolStatus): void {
    if (this.#watchers.size === 0) return;
    const text = JSON.stringify(status);
    if (text === this.#statusText) return;
    this.#statusText = text;
    this.#send({ kind: 'status', status });
  }

  #flow(figures: PoolActivity, { usedBytes }: PoolStatus): void {
    const { clock } = this.#parts;
    const before = this.#activity;
    const atMs = clock.nowMs();
    this.#activity = { atMs: clock.monotonicMs(), figures };
    if (before === undefined) return;
    const sample: Sample = {
      atMs,
      elapsedMs: this.#activity.atMs - before.atMs,
      readBytes: figures.read.bytes - before.figures.read.bytes,
      writeBytes: figures.write.bytes - before.figures.write.bytes,
      committedBytes: figures.committedBytes - before.figures.committedBytes,
      read: since(before.figures.read, figures.read),
      write: since(before.figures.write, figures.write),
      sync: since(before.figures.sync, figures.sync),
      stagedBytes: figures.stagedBytes,
      usedBytes,
    };
    this.#rings.add(sample);
    const { stagedBytes, committingBytes } = figures;
    const pulse: Pulse = {
      ...flowOf(sample),
      stagedBytes: Math.max(0, stagedBytes - committingBytes),
      committingBytes,
    };
    this.#send({ kind: 'pulse', pulse });
  }

  async #ask(status: PoolStatus): Promise<void> {
    const { sensors } = this.#parts;
    assert(sensors !== undefined, 'only asked where there are sensors');
    const found = await sensors.ask(status.disks);
    if (this.#closed) return;
    const before = this.#sensors;
    this.#sensors = found;
    const hot = this.#hot;
    this.#hot = hotDisks(hot, found);
    for (const event of sensorEvents(before, found, status, hot)) this.report(event);
    this.#send({ kind: 'sensors', sensors: found });
  }

  get #path(): string {
    return join(this.#parts.poolDirectory, FILE_NAME);
  }

  async #load(): Promise<void> {
    let text: string;
    try {
      text = (await this.#parts.io.readFile(this.#path)).toString('utf8');
    } catch (error) {
      if (!hasCode(error, 'NOT_FOUND'))
        this.#parts.warn(error, `${FILE_NAME} cannot be read: history and events begin anew`);
      return;
    }
    try {
      const { history, events } = v.parse(Kept, JSON.parse(text));
      this.#rings.load(history);
      this.#events = events.slice(-EVENTS_MAX);
      this.#nextId = Math.max(0, ...events.map(({ id }) => id)) + 1;
    } catch (error) {
      this.#parts.warn(error, `${FILE_NAME} is not what it should be: history and events begin anew`);
    }
  }

  async #keep(): Promise<void> {
    const kept = { format: 1, history: this.#rings.kept(this.#parts.clock.nowMs()), events: this.#events };
    try {
      await this.#parts.io.replaceFile(this.#path, Buffer.from(JSON.stringify(kept), 'utf8'));
    } catch (error) {
      this.#parts.warn(error, `${FILE_NAME} cannot be written: history and events of this run may be lost`);
    }
  }
}

function since(before: RequestFigures, after: RequestFigures): { readonly count: number; readonly totalMs: number } {
  return { count: after.count - before.count, totalMs: after.totalMs - before.totalMs };
}
