/** Who may use the S3 face. Secrets are shown nowhere: they are printed once, when a key is made. */
import { ask } from './api.js';
import { section } from './parts.js';
import { changed, store, textOf } from './store.js';
import { type Child, h } from './view.js';

export async function loadKeys(): Promise<void> {
  try {
    store.keys = await ask<NonNullable<typeof store.keys>>('/v1/keys');
  } catch (error) {
    store.notice = textOf(error);
  }
  changed();
}

export function access(): Child {
  const { keys, status } = store;
  const pool = status?.directory ?? 'POOL';
  if (keys === undefined) return section('access', 'S3', h('p', { class: 'empty' }, 'Loading …'));
  if (keys.endpoint === null)
    return section(
      'access',
      'S3',
      h('p', {}, 'This pool is not served as S3. To do that, put this into cairn.toml; it is used at once:'),
      h('pre', {}, '[s3]\naddress = "127.0.0.1:9000"'),
    );
  return section(
    'access',
    'S3',
    h('p', {}, 'Served at ', h('code', {}, keys.endpoint), '. A bucket is a directory at the top of the mount.'),
    keys.keys.length === 0
      ? h('p', { class: 'empty' }, 'Nobody has a key yet.')
      : h(
          'div',
          { class: 'table', role: 'region', 'aria-label': 'Keys', tabindex: 0 },
          h(
            'table',
            {},
            h(
              'thead',
              {},
              h(
                'tr',
                {},
                ['User', 'Access key', 'In buckets of others'].map((title) =>
                  h('th', { scope: 'col', key: title }, title),
                ),
              ),
            ),
            h(
              'tbody',
              {},
              keys.keys.map(({ name, accessKey, buckets }) =>
                h(
                  'tr',
                  { key: accessKey },
                  h('th', { scope: 'row' }, name),
                  h('td', {}, h('code', {}, accessKey)),
                  h(
                    'td',
                    {},
                    Object.entries(buckets)
                      .map(([bucket, may]) => `${bucket === '*' ? 'all' : bucket}: ${may}`)
                      .join(', ') || 'what their owners grant',
                  ),
                ),
              ),
            ),
          ),
        ),
    h(
      'p',
      { class: 'more' },
      'Keys are made, changed and removed in a terminal; a secret is shown once, when it is made:',
    ),
    h('pre', {}, `cairn user add ${pool} NAME\ncairn user rotate ${pool} NAME\ncairn user remove ${pool} NAME`),
  );
}
