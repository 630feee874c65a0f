/** A monitor that tells what a test makes it tell. */
import type { History, HistorySpan, LiveMessage, MonitorView, PoolEvent } from '../../../src/monitor/reports.js';
import type { PoolStatus } from '../../../src/vfs/reports.js';

export const EVENT: PoolEvent = {
  id: 1,
  atMs: 1000,
  kind: 'disk-gone',
  severity: 'warning',
  message: 'disk 2 does not answer any more',
  advice: 'look at its cable',
};

export class FakeMonitor implements MonitorView {
  readonly listeners = new Set<(message: LiveMessage) => void>();
  readonly #status: () => Promise<PoolStatus>;

  constructor(status: () => Promise<PoolStatus>) {
    this.#status = status;
  }

  history(span: HistorySpan): History {
    const rates = { readBytesPerSecond: 1, writeBytesPerSecond: 2.5, commitBytesPerSecond: 0 };
    const point = { atMs: 1000, ...rates, readMs: null, writeMs: 0.5, syncMs: null, stagedBytes: 0, usedBytes: 9 };
    return { format: 1, span, stepMs: 10_000, points: [point] };
  }

  events() {
    return [EVENT];
  }

  sensors() {
    const unknown = { device: null, model: null, serial: null, temperatureCelsius: 41, poweredOnHours: null };
    const sectors = { reallocatedSectors: 0, pendingSectors: null };
    return [{ uuid: 'a', ...unknown, ...sectors, smart: 'passed' as const, why: '', askedMs: 1000 }];
  }

  watch(listener: (message: LiveMessage) => void): () => void {
    this.listeners.add(listener);
    void this.#status().then((status) => listener({ kind: 'status', status }));
    return () => this.listeners.delete(listener);
  }

  tell(message: LiveMessage): void {
    for (const listener of this.listeners) listener(message);
  }

  async testNotifications() {
    return [{ way: 'webhook', error: null }];
  }
}
