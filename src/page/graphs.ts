/** Throughput and latency over the last hour, day or month, drawn as lines that differ in dashes as well as in colour. */
import type { HistoryPoint, HistorySpan } from '../monitor/reports.js';
import { section } from './parts.js';
import { changed, store } from './store.js';
import { type Element_, h } from './view.js';
import { milliseconds, rate } from './words.js';

const WIDTH = 600;
const HEIGHT = 140;
const SPANS: readonly (readonly [HistorySpan, string, number])[] = [
  ['hour', 'Hour', 3_600_000],
  ['day', 'Day', 86_400_000],
  ['month', 'Month', 31 * 86_400_000],
];

interface Line {
  readonly name: string;
  readonly class: string;
  value(point: HistoryPoint): number | null;
}

const THROUGHPUT: readonly Line[] = [
  { name: 'written', class: 'one', value: ({ writeBytesPerSecond }) => writeBytesPerSecond },
  { name: 'committed', class: 'two', value: ({ commitBytesPerSecond }) => commitBytesPerSecond },
  { name: 'read', class: 'three', value: ({ readBytesPerSecond }) => readBytesPerSecond },
];
const LATENCY: readonly Line[] = [
  { name: 'write', class: 'one', value: ({ writeMs }) => writeMs },
  { name: 'fsync', class: 'two', value: ({ syncMs }) => syncMs },
  { name: 'read', class: 'three', value: ({ readMs }) => readMs },
];

let onSpan: () => void = () => {};

/** Called when another span is chosen: its history is asked for then. */
export function onSpanChange(listener: () => void): void {
  onSpan = listener;
}

export function graphs(): Element_ {
  return section(
    'graphs',
    'Throughput and latency',
    h(
      'div',
      { class: 'tabs', role: 'group', 'aria-label': 'Time span' },
      SPANS.map(([span, text]) =>
        h(
          'button',
          {
            type: 'button',
            key: span,
            'aria-pressed': store.span === span ? 'true' : 'false',
            onclick: () => {
              store.span = span;
              store.history = undefined;
              onSpan();
              changed();
            },
          },
          text,
        ),
      ),
    ),
    h(
      'div',
      { class: 'columns' },
      graph('Bytes per second', THROUGHPUT, (value) => rate(value ?? 0)),
      graph('Time per request', LATENCY, milliseconds),
    ),
  );
}

function graph(title: string, lines: readonly Line[], words: (value: number | null) => string): Element_ {
  const points = store.history?.points ?? [];
  const spanMs = SPANS.find(([span]) => span === store.span)?.[2] ?? 1;
  const endMs = Math.max(Date.now(), points.at(-1)?.atMs ?? 0);
  const stepMs = store.history?.stepMs ?? 10_000;
  const top = Math.max(...points.flatMap((point) => lines.map(({ value }) => value(point) ?? 0)), 0);
  const x = (atMs: number) => WIDTH * (1 - (endMs - atMs) / spanMs);
  const y = (value: number) => HEIGHT - 4 - (top === 0 ? 0 : (value / top) * (HEIGHT - 12));
  const shown = store.pointed === undefined ? points.at(-1) : nearest(points, store.pointed);
  const path = ({ value }: Line): string => {
    let text = '';
    let lastMs = Number.NEGATIVE_INFINITY;
    for (const point of points) {
      const at = value(point);
      if (at === null) continue;
      // Where no daemon ran, or nothing was asked, there is no line.
      // One alone is a dot.
      const place = `${x(point.atMs).toFixed(1)} ${y(at).toFixed(1)}`;
      text += point.atMs - lastMs > 2.5 * stepMs ? `M${place}h0.1` : `L${place}`;
      lastMs = point.atMs;
    }
    return text;
  };
  const summary = lines
    .map((line) => `${line.name} ${words(shown === undefined ? null : line.value(shown))}`)
    .join(', ');
  return h(
    'figure',
    { class: 'graph' },
    h('figcaption', {}, title, top === 0 ? undefined : h('span', { class: 'more' }, ` most: ${words(top)}`)),
    points.length < 2
      ? h('p', { class: 'empty' }, 'Drawn as soon as there is a little to draw.')
      : h(
          'svg',
          {
            viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
            preserveAspectRatio: 'none',
            role: 'img',
            'aria-label': `${title}, last ${store.span}: ${summary}`,
            onpointermove: (event: Event) => point(event as PointerEvent, endMs, spanMs),
            onpointerleave: () => {
              store.pointed = undefined;
              changed();
            },
          },
          h('line', { class: 'axis', x1: 0, x2: WIDTH, y1: HEIGHT - 4, y2: HEIGHT - 4 }),
          lines.map((line) => h('path', { class: line.class, key: line.name, d: path(line) })),
          store.pointed === undefined || shown === undefined
            ? undefined
            : h('line', { class: 'cursor', key: 'cursor', x1: x(shown.atMs), x2: x(shown.atMs), y1: 0, y2: HEIGHT }),
        ),
    points.length < 2
      ? undefined
      : h(
          'p',
          { class: 'scale', 'aria-hidden': 'true' },
          h('span', {}, store.span === 'hour' ? 'an hour ago' : `a ${store.span} ago`),
          h('span', {}, 'now'),
        ),
    h(
      'p',
      { class: 'legend' },
      lines.map((line) =>
        h(
          'span',
          { key: line.name },
          h('svg', { viewBox: '0 0 24 6', 'aria-hidden': 'true' }, h('path', { class: line.class, d: 'M0 3 H24' })),
          `${line.name} ${words(shown === undefined ? null : line.value(shown))}`,
        ),
      ),
      h(
        'span',
        { class: 'more', key: 'when' },
        shown === undefined ? '' : new Date(shown.atMs).toLocaleString([], { dateStyle: 'short', timeStyle: 'short' }),
      ),
    ),
  );
}

function point(event: PointerEvent, endMs: number, spanMs: number): void {
  const box =
    (event.currentTarget as Element | null)?.getBoundingClientRect() ??
    (event.target as Element).getBoundingClientRect();
  const share = (event.clientX - box.left) / Math.max(1, box.width);
  store.pointed = endMs - spanMs * (1 - share);
  changed();
}

function nearest(points: readonly HistoryPoint[], atMs: number): HistoryPoint | undefined {
  let best: HistoryPoint | undefined;
  for (const each of points)
    if (best === undefined || Math.abs(each.atMs - atMs) < Math.abs(best.atMs - atMs)) best = each;
  return best;
}
