/** How fast something goes, over the last half minute of work. */
const WINDOW_MS = 30_000;
const SAMPLE_EVERY_MS = 250;
/** Less than this says nothing. */
const SPAN_MIN_MS = 500;

export class Rate {
  #samples: { readonly atMs: number; readonly bytes: number }[] = [];

  /** So many bytes were done at this moment. */
  note(atMs: number, bytes: number): void {
    const last = this.#samples.at(-1);
    if (last !== undefined && atMs - last.atMs < SAMPLE_EVERY_MS) return;
    this.#samples.push({ atMs, bytes });
    const old = this.#samples.findIndex((sample) => atMs - sample.atMs <= WINDOW_MS);
    if (old > 1) this.#samples.splice(0, old - 1);
  }

  /** Bytes in a second; 0 if it cannot be told yet. */
  perSecond(nowMs: number, bytes: number): number {
    const first = this.#samples[0];
    if (first === undefined) return 0;
    const spanMs = nowMs - first.atMs;
    return spanMs < SPAN_MIN_MS ? 0 : Math.max(0, ((bytes - first.bytes) * 1000) / spanMs);
  }
}
