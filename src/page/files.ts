/** The files of the pool, with how safe each is. */

import type { FileVersion } from '../monitor/reports.js';
import type { FileListing, FileState, PolicyReport, PolicyValue } from '../vfs/reports.js';
import { ask } from './api.js';
import { badge, button, facts, section, type Tone } from './parts.js';
import { changed, store, textOf } from './store.js';
import { type Child, type Element_, h } from './view.js';
import { ago, counted, duration, formatBytes } from './words.js';

const PAGE = 200;
const STATES: Readonly<Record<FileState['state'], readonly [Tone, string]>> = {
  staged: ['note', 'staged'],
  committing: ['note', 'committing'],
  committed: ['good', 'committed'],
};
const HEALTH: Readonly<Record<FileState['health'], readonly [Tone, string]>> = {
  healthy: ['good', 'healthy'],
  degraded: ['warning', 'degraded'],
  lost: ['alarm', 'lost'],
};
const KINDS = { file: 'file', directory: 'directory', symlink: 'link', other: 'special file' } as const;

export async function openPath(path: string, after?: string): Promise<void> {
  const { place } = store;
  if (path !== place.path) {
    place.path = path;
    place.before.length = 0;
    place.listing = undefined;
    place.policy = undefined;
    place.selected = undefined;
  }
  place.error = '';
  changed();
  const query = new URLSearchParams({ path, limit: String(PAGE), ...(after !== undefined && { after }) });
  try {
    const listing = await ask<FileListing>(`/v1/files?${query}`);
    if (store.place.path === path) place.listing = listing;
    const policy = await ask<PolicyReport>(`/v1/policy?${new URLSearchParams({ path })}`);
    if (store.place.path === path) place.policy = policy;
  } catch (error) {
    place.error = textOf(error);
  }
  changed();
}

async function select(path: string): Promise<void> {
  const selected: NonNullable<typeof store.place.selected> & { state?: FileState; versions?: readonly FileVersion[] } =
    { path, error: '' };
  store.place.selected = selected;
  changed();
  try {
    const query = new URLSearchParams({ path });
    selected.state = await ask<FileState>(`/v1/state?${query}`);
    selected.versions = (await ask<{ versions: FileVersion[] }>(`/v1/versions?${query}`)).versions;
  } catch (error) {
    selected.error = textOf(error);
  }
  changed();
}

function link(path: string): string {
  return `#/files${path.split('/').map(encodeURIComponent).join('/')}`;
}

export function files(): Child {
  const { place } = store;
  const parts = place.path.split('/').filter((part) => part !== '');
  const base = place.path === '/' ? '' : place.path;
  return section(
    'files',
    'Files',
    h(
      'nav',
      { 'aria-label': 'Path', class: 'path-bar' },
      h('a', { href: link('/') }, 'pool'),
      parts.map((part, i) => [' / ', h('a', { href: link(`/${parts.slice(0, i + 1).join('/')}`), key: `${i}` }, part)]),
    ),
    place.policy === undefined ? undefined : policyLine(place.policy),
    place.error === '' ? undefined : h('p', { class: 'error' }, place.error),
    place.listing === undefined && place.error === '' ? h('p', { class: 'empty' }, 'Loading …') : undefined,
    place.listing?.entries.length === 0 && place.before.length === 0
      ? h(
          'p',
          { class: 'empty' },
          place.path === '/'
            ? 'No files yet. Copy something to the mount, or make a bucket with S3.'
            : 'Nothing in here.',
        )
      : undefined,
    place.listing === undefined || place.listing.entries.length === 0 ? undefined : listing(place.listing, base),
    pages(),
    details(),
  );
}

/** What holds for new files here, and which directory says so. */
function policyLine({ path, mode, scheme, compression, commitDelayMs }: PolicyReport): Element_ {
  const source = ({ from }: PolicyValue<unknown>): string =>
    from === null ? '' : from === path ? ' (said here)' : ` (said by ${from})`;
  const parts = [
    `${mode.value} mode${source(mode)}`,
    scheme.value === 'auto' ? undefined : `kept as ${scheme.value}${source(scheme)}`,
    compression.value === 'off' ? undefined : `compression ${compression.value}${source(compression)}`,
    `committed ${commitDelayMs.value === 0 ? 'at once' : `within ${duration(commitDelayMs.value)}`}${source(commitDelayMs)}`,
  ].filter((part) => part !== undefined);
  return h('p', { class: 'more policy' }, 'What is written here: ', parts.join(' · '), '.');
}

function listing({ entries }: FileListing, base: string): Element_ {
  return h(
    'div',
    { class: 'table', role: 'region', 'aria-label': 'Entries', tabindex: 0 },
    h(
      'table',
      {},
      h(
        'thead',
        {},
        h(
          'tr',
          {},
          ['Name', 'Size', 'Changed', 'Commit', 'Health'].map((title) => h('th', { scope: 'col', key: title }, title)),
        ),
      ),
      h(
        'tbody',
        {},
        entries.map(({ name, kind, sizeBytes, modifiedMs, state, health }) => {
          const path = `${base}/${name}`;
          return h(
            'tr',
            { key: name },
            h(
              'th',
              { scope: 'row' },
              kind === 'directory'
                ? h('a', { href: link(path) }, `${name}/`)
                : button(name, () => void select(path), { class: 'link' }),
            ),
            h('td', { class: 'number' }, kind === 'file' ? formatBytes(sizeBytes) : KINDS[kind]),
            h('td', {}, ago(modifiedMs)),
            h('td', {}, badge(...STATES[state])),
            h('td', {}, kind !== 'file' ? '' : health === null ? 'not counted here' : badge(...HEALTH[health])),
          );
        }),
      ),
    ),
  );
}

function pages(): Child {
  const { place } = store;
  const next = place.listing?.next ?? null;
  if (next === null && place.before.length === 0) return undefined;
  return h(
    'div',
    { class: 'actions' },
    place.before.length === 0
      ? undefined
      : button(
          'Earlier',
          () => {
            place.before.pop();
            void openPath(place.path, place.before.at(-1));
          },
          { class: 'plain' },
        ),
    next === null
      ? undefined
      : button(
          'More',
          () => {
            place.before.push(next);
            void openPath(place.path, next);
          },
          { class: 'plain' },
        ),
  );
}

function details(): Child {
  const { selected } = store.place;
  if (selected === undefined) return undefined;
  const { state, versions } = selected;
  return h(
    'div',
    { class: 'details', 'aria-live': 'polite', key: 'details' },
    h(
      'div',
      { class: 'row' },
      h('h3', {}, selected.path),
      button(
        'Close',
        () => {
          store.place.selected = undefined;
          changed();
        },
        { class: 'plain' },
      ),
    ),
    selected.error === '' ? undefined : h('p', { class: 'error' }, selected.error),
    state === undefined
      ? undefined
      : facts([
          ['Commit', badge(...STATES[state.state])],
          ['Health', badge(...HEALTH[state.health])],
          ['Size', formatBytes(state.sizeBytes)],
          ['Staged', formatBytes(state.stagedBytes)],
          [
            'Committed',
            `${formatBytes(state.committedBytes)} in ${counted(state.chunks, 'chunk')}${state.schemes.length === 0 ? '' : ` (${state.schemes.join(', ')})`}`,
          ],
          ...compressedFact(state.compressed),
        ]),
    versions === undefined || versions.length < 2
      ? undefined
      : [
          h('h4', {}, 'Versions'),
          h(
            'ul',
            { class: 'versions' },
            versions.map(({ id, isCurrent, isDeleteMarker, sizeBytes, modifiedMs }) =>
              h(
                'li',
                { key: id },
                h('code', {}, id),
                ` ${isDeleteMarker ? 'deleted' : formatBytes(sizeBytes)}, ${ago(modifiedMs)}${isCurrent ? ', the present one' : ''}`,
              ),
            ),
          ),
        ],
  );
}

function compressedFact({ chunks, bytes, storedBytes }: FileState['compressed']): [string, string][] {
  if (chunks === 0) return [];
  return [['Compressed', `${counted(chunks, 'chunk')}, ${formatBytes(bytes)} in ${formatBytes(storedBytes)}`]];
}
