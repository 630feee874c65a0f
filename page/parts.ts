/** Small pieces that several views have. */
import { type Child, type Element_, h } from './view.js';

export type Tone = 'good' | 'note' | 'warning' | 'alarm' | 'quiet';

const SIGNS: Readonly<Record<Tone, string>> = { good: '✓', note: 'i', warning: '!', alarm: '✕', quiet: '·' };

/** A state in a word, never by its colour alone. */
export function badge(tone: Tone, text: string): Element_ {
  return h('span', { class: `badge ${tone}` }, h('span', { class: 'sign', 'aria-hidden': 'true' }, SIGNS[tone]), text);
}

export function section(id: string, title: string, ...children: readonly Child[]): Element_ {
  return h('section', { class: 'card', 'aria-labelledby': id, key: id }, h('h2', { id }, title), ...children);
}

export function bar(share: number, label: string, tone: Tone = 'quiet'): Element_ {
  const value = Math.round(share);
  return h(
    'div',
    {
      class: `bar ${tone}`,
      role: 'progressbar',
      'aria-valuenow': value,
      'aria-valuemin': 0,
      'aria-valuemax': 100,
      'aria-label': label,
    },
    h('div', { class: 'filled', style: { width: `${share}%` } }),
  );
}

export function button(
  text: string,
  onclick: () => void,
  more: Readonly<Record<string, string | boolean>> = {},
): Element_ {
  return h('button', { type: 'button', ...more, onclick }, text);
}

/** Name and value, in two columns. */
export function facts(rows: readonly (readonly [name: string, value: Child])[]): Element_ {
  return h(
    'dl',
    { class: 'facts' },
    rows.map(([name, value]) => h('div', { key: name }, h('dt', {}, name), h('dd', {}, value))),
  );
}
