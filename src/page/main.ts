/** The status page: logs in, listens to what changes, and draws the view that the address names. */
import type { History, LiveMessage, PoolEvent } from '../monitor/reports.js';
import type { PoolPlan } from '../vfs/reports.js';
import { access, loadKeys } from './access.js';
import { ApiError, ask, watch } from './api.js';
import { files, openPath } from './files.js';
import { onSpanChange } from './graphs.js';
import { overview } from './overview.js';
import { badge, button } from './parts.js';
import { changed, onChange, store, textOf } from './store.js';
import { type Child, type Element_, h, render } from './view.js';
import { wizardDialog } from './wizard.js';

const HISTORY_MS = 10_000;
const EVENTS_MAX = 200;
const VIEWS = [
  ['overview', 'Overview', '#/'],
  ['files', 'Files', '#/files/'],
  ['access', 'S3', '#/s3'],
] as const;
const root = document.getElementById('app');
let stopWatching: (() => void) | undefined;
let mapVersion = -1;

function onMessage(message: LiveMessage): void {
  switch (message.kind) {
    case 'status':
      store.status = message.status;
      if (message.status.mapVersion !== mapVersion) {
        mapVersion = message.status.mapVersion;
        void loadCapacity();
      }
      break;
    case 'pulse':
      store.pulse = message.pulse;
      break;
    case 'event':
      store.events = [message.event, ...store.events].slice(0, EVENTS_MAX);
      break;
    case 'sensors':
      store.sensors = message.sensors;
  }
  changed();
}

async function loadCapacity(): Promise<void> {
  store.capacity = await ask<PoolPlan>('/v1/capacity').catch(() => undefined);
  changed();
}

async function loadHistory(): Promise<void> {
  const { span } = store;
  const history = await ask<History>(`/v1/history?span=${span}`).catch(() => undefined);
  if (history !== undefined && store.span === span) store.history = history;
  changed();
}

async function loadEvents(): Promise<void> {
  store.events = await askEvents().catch(() => store.events);
  changed();
}

async function askEvents(): Promise<readonly PoolEvent[]> {
  return (await ask<{ events: readonly PoolEvent[] }>('/v1/events')).events;
}

async function begin(): Promise<void> {
  try {
    store.events = await askEvents();
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) {
      store.login = { needs: error.needs ?? 'key', error: '', busy: false };
      changed();
      return;
    }
    store.isConnected = false;
  }
  store.login = undefined;
  stopWatching?.();
  stopWatching = watch({
    onMessage,
    onState: (isConnected) => {
      // What happened while nobody listened is not told again.
      if (isConnected && !store.isConnected) void loadEvents();
      store.isConnected = isConnected;
      changed();
    },
    onLoggedOut: (needs) => {
      stopWatching?.();
      store.status = undefined;
      store.login = { needs, error: '', busy: false };
      changed();
    },
  });
  void loadHistory();
  route();
}

async function logIn(secret: string): Promise<void> {
  const { login } = store;
  if (login !== undefined) login.busy = true;
  changed();
  try {
    await ask('/v1/login', { password: secret });
    await begin();
  } catch (error) {
    const needs = error instanceof ApiError ? error.needs : undefined;
    store.login = { needs: needs ?? login?.needs ?? 'key', error: textOf(error), busy: false };
  }
  changed();
}

async function logOut(): Promise<void> {
  stopWatching?.();
  await ask('/v1/logout', {}).catch(() => undefined);
  store.status = undefined;
  await begin();
}

function route(): void {
  const { hash } = location;
  if (hash.startsWith('#key=')) {
    const key = hash.slice('#key='.length);
    // The key is used once, and does not stay in the address.
    history.replaceState(null, '', '#/');
    void logIn(key);
    return;
  }
  if (store.login !== undefined) return;
  // What it tells of was done in the view before, and is not so any more.
  store.notice = '';
  if (hash.startsWith('#/files')) {
    store.view = 'files';
    const path = decodeURIComponent(hash.slice('#/files'.length));
    void openPath(path === '' ? '/' : path.replace(/(.)\/$/, '$1'));
  } else if (hash === '#/s3') {
    store.view = 'access';
    void loadKeys();
  } else store.view = 'overview';
  changed();
}

function loginView({ needs, error, busy }: NonNullable<typeof store.login>): Element_ {
  const isKey = needs === 'key';
  return h(
    'main',
    { class: 'login card', key: 'login' },
    h('img', { src: '/icon.svg', alt: '', width: 48, height: 48 }),
    h('h1', {}, 'Cairn'),
    h(
      'p',
      {},
      isKey
        ? 'Open the link that this command shows on the machine of the pool, or paste its key:'
        : 'The password of this pool’s page:',
    ),
    isKey ? h('pre', {}, 'cairn web link POOL') : undefined,
    h(
      'form',
      {
        onsubmit: (event) => {
          event.preventDefault();
          const field = (event.target as HTMLFormElement).elements.namedItem('secret') as HTMLInputElement;
          void logIn(field.value.trim().replace(/^.*#key=/, ''));
        },
      },
      h('label', { for: 'secret' }, isKey ? 'Link or key' : 'Password'),
      h('input', {
        id: 'secret',
        name: 'secret',
        type: 'password',
        required: true,
        autocomplete: isKey ? 'off' : 'current-password',
        autofocus: true,
      }),
      h('button', { type: 'submit', class: 'primary', disabled: busy }, busy ? 'Checking …' : 'Log in'),
    ),
    h('div', { 'aria-live': 'assertive' }, error === '' ? undefined : h('p', { class: 'error' }, error)),
  );
}

function frame(content: Child): Child {
  const { status, isConnected } = store;
  const tone =
    status === undefined
      ? 'quiet'
      : ({ healthy: 'good', degraded: 'warning', failed: 'alarm' } as const)[status.health];
  return [
    h(
      'a',
      {
        class: 'skip',
        href: '#main',
        key: 'skip',
        onclick: (event) => {
          event.preventDefault();
          document.getElementById('main')?.focus();
        },
      },
      'To the content',
    ),
    h(
      'header',
      { key: 'header' },
      h('h1', {}, h('img', { src: '/icon.svg', alt: '', width: 28, height: 28 }), 'Cairn'),
      h(
        'p',
        { class: 'pool' },
        status?.mountpoint ?? status?.directory ?? '',
        ' ',
        status === undefined ? undefined : badge(tone, status.health),
        status?.readOnly ? [' ', badge('note', 'read-only')] : undefined,
      ),
      h(
        'nav',
        { 'aria-label': 'Views' },
        VIEWS.map(([view, text, href]) =>
          h('a', { href, key: view, 'aria-current': store.view === view ? 'page' : undefined }, text),
        ),
        button('Log out', () => void logOut(), { class: 'link', key: 'out' }),
      ),
    ),
    h(
      'div',
      { class: 'notices', 'aria-live': 'polite', key: 'notices' },
      isConnected
        ? undefined
        : h(
            'p',
            { class: 'error', key: 'lost' },
            'The daemon does not answer; trying again. What is shown is from before.',
          ),
      store.notice === ''
        ? undefined
        : h(
            'p',
            { class: 'notice', key: 'notice' },
            store.notice,
            ' ',
            button(
              'Dismiss',
              () => {
                store.notice = '';
                changed();
              },
              { class: 'link' },
            ),
          ),
    ),
    h('main', { id: 'main', tabindex: -1, key: 'main' }, content),
    h(
      'footer',
      { key: 'footer' },
      'The same in a terminal: ',
      h('code', {}, `cairn status ${status?.directory ?? 'POOL'}`),
    ),
    wizardDialog(),
  ];
}

function draw(): void {
  if (root === null) return;
  if (store.login !== undefined) {
    render(root, loginView(store.login));
    return;
  }
  const { status, view } = store;
  const waiting = h('p', { class: 'loading', key: 'waiting' }, 'Waiting for the daemon …');
  const content =
    status === undefined ? waiting : view === 'files' ? files() : view === 'access' ? access() : overview(status);
  document.title = status === undefined || status.health === 'healthy' ? 'Cairn' : `${status.health}: Cairn`;
  render(root, frame(content));
}

onChange(draw);
onSpanChange(() => void loadHistory());
addEventListener('hashchange', route);
setInterval(() => {
  if (!document.hidden && store.login === undefined) void loadHistory();
}, HISTORY_MS);
if (location.hash.startsWith('#key=')) route();
else void begin();
