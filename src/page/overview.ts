/** The first view: how the pool is, what to do if it is not well, and what is happening in it. */
import type { DiskSensor } from '../monitor/reports.js';
import type { DiskLoss, DiskReport, PoolStatus } from '../vfs/reports.js';
import { ask } from './api.js';
import { graphs } from './graphs.js';
import { badge, bar, button, facts, section, type Tone } from './parts.js';
import { changed, store, textOf } from './store.js';
import { type Child, type Element_, h } from './view.js';
import { openWizard } from './wizard.js';
import { ago, counted, duration, formatBytes, percent, rate } from './words.js';

const HEALTH: Readonly<Record<PoolStatus['health'], readonly [tone: Tone, title: string]>> = {
  healthy: ['good', 'Everything is safe'],
  degraded: ['warning', 'Readable, but less safe than promised'],
  failed: ['alarm', 'A part of the data cannot be read'],
};
const NEARLY_FULL_PERCENT = 90;
const EVENTS_SHOWN = 12;

export function overview(status: PoolStatus): Child {
  return [
    verdict(status),
    flow(status),
    h(
      'section',
      { class: 'disks', 'aria-labelledby': 'disks', key: 'disks' },
      h(
        'div',
        { class: 'heading' },
        h('h2', { id: 'disks' }, 'Disks'),
        button('Add a disk …', () => openWizard('add'), { class: 'plain' }),
      ),
      h(
        'ul',
        { class: 'grid' },
        status.disks.map((disk) => diskCard(disk, status)),
        cacheCard(status),
      ),
      sensorNotes(),
    ),
    h('div', { class: 'columns', key: 'columns' }, capacity(status), jobs(status)),
    graphs(),
    events(),
  ];
}

function verdict(status: PoolStatus): Element_ {
  const [tone, title] = HEALTH[status.health];
  const away = status.disks.filter(({ state }) => state !== 'online');
  const findings = status.findings.filter((finding) => !away.some(({ directory }) => finding.includes(directory)));
  return h(
    'section',
    { class: `verdict ${tone}`, 'aria-labelledby': 'verdict', key: 'verdict', 'aria-live': 'polite' },
    h('h2', { id: 'verdict' }, badge(tone, status.health), ' ', title),
    h('p', { class: 'protection' }, status.protection),
    h('p', { class: 'more mounted' }, howMounted(status)),
    findings.map((finding) => h('p', { class: 'finding', key: finding }, finding)),
    away.map((disk) => awayDisk(disk, status)),
  );
}

/** Where its files are, and what a program is promised there. */
function howMounted({ mountpoint, mode, readOnly, passthrough, writeback }: PoolStatus): string {
  if (mountpoint === null) return 'Not mounted.';
  if (readOnly)
    return `Mounted read-only at ${mountpoint}: programs can change nothing there${passthrough ? '; large files are read by the kernel itself, at the speed of the cache (passthrough)' : ''}.`;
  const promise =
    mode === 'strong'
      ? 'what a program has synced or closed is on the disks'
      : 'what a program has synced is safe in the cache at once, and on the disks soon after';
  const kept = writeback ? ' The kernel keeps what is neither synced nor closed for about a second (writeback).' : '';
  return `Mounted at ${mountpoint} in ${mode} mode: ${promise}.${kept} Directories may say otherwise (see Files).`;
}

/** What a person does about a disk that is not there, in the order in which to do it. */
function awayDisk(disk: DiskReport, { health }: PoolStatus): Element_ {
  const name = nameOf(disk);
  return h(
    'div',
    { class: 'todo', key: disk.uuid },
    h('h3', {}, `${name} is ${disk.state}`),
    h(
      'p',
      {},
      sentence(disk.reason),
      health === 'failed' ? '' : ' Nothing is lost: everything stays readable from the other disks.',
    ),
    h(
      'ol',
      {},
      h('li', {}, 'Check its cable and its power. It is taken back by itself as soon as it is there again.'),
      h(
        'li',
        {},
        'If it is broken, put a new disk in and let the pool make its data anew: ',
        button(`Replace ${name} …`, () => openWizard('replace', disk), { class: 'primary' }),
      ),
    ),
  );
}

function nameOf({ role, number }: Pick<DiskReport, 'role' | 'number'>): string {
  return role === 'data' ? `Disk ${number}` : role === 'journal' ? 'Journal disk' : 'Cache';
}

function sentence(text: string): string {
  return text === '' ? '' : `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

function flow(status: PoolStatus): Element_ {
  const { pulse } = store;
  const staged = pulse?.stagedBytes ?? status.dirtyBytes;
  const committing = pulse?.committingBytes ?? 0;
  const writes = pulse?.writeBytesPerSecond ?? 0;
  const commits = pulse?.commitBytesPerSecond ?? 0;
  const isQuiet = staged === 0 && committing === 0;
  const step = (key: string, title: string, value: string, more: string, isActive: boolean) =>
    h(
      'li',
      { class: isActive ? 'active' : '', key },
      h('span', { class: 'name' }, title),
      h('strong', {}, value),
      h('span', { class: 'more' }, more),
    );
  const arrow = (key: string, bytesPerSecond: number) =>
    h(
      'li',
      {
        class: bytesPerSecond > 0 ? 'arrow moving' : 'arrow',
        key,
        'aria-label': `${rate(bytesPerSecond)} from left to right`,
      },
      h(
        'svg',
        { viewBox: '0 0 60 12', 'aria-hidden': 'true' },
        h('path', { class: 'line', d: 'M0 6 H52' }),
        h('path', { class: 'tip', d: 'M52 2 L59 6 L52 10 Z' }),
      ),
      h('span', {}, rate(bytesPerSecond)),
    );
  return section(
    'flow',
    'On its way to the disks',
    h(
      'ol',
      { class: 'flow' },
      step('written', 'Written', rate(writes), 'by programs', writes > 0),
      arrow('a', writes),
      step('staged', 'Staged', formatBytes(staged), 'safe in the cache', staged > 0),
      arrow('b', commits),
      step('committing', 'Committing', formatBytes(committing), 'going to the disks', committing > 0),
      arrow('c', commits),
      step('committed', 'Committed', formatBytes(status.usedBytes), 'safe on the disks', commits > 0),
    ),
    h(
      'div',
      { class: 'row' },
      h(
        'p',
        { class: 'more' },
        isQuiet ? 'All that was written is committed.' : `${counted(status.dirtyFiles, 'file')} not committed yet.`,
      ),
      isQuiet ? undefined : button('Commit now', () => void commitNow(), { class: 'plain' }),
    ),
  );
}

async function commitNow(): Promise<void> {
  try {
    await ask('/v1/commit', { paths: ['/'], wait: false });
    store.notice = 'The commit has begun.';
  } catch (error) {
    store.notice = textOf(error);
  }
  changed();
}

const STATES: Readonly<Record<DiskReport['state'], readonly [tone: Tone, word: string]>> = {
  online: ['good', 'online'],
  suspect: ['warning', 'suspect'],
  offline: ['alarm', 'offline'],
  missing: ['alarm', 'missing'],
  foreign: ['alarm', 'another disk is in its place'],
};

function diskCard(disk: DiskReport, status: PoolStatus): Element_ {
  const [tone, word] = STATES[disk.state];
  const isHere = disk.state === 'online' || disk.state === 'suspect';
  const used = percent(disk.capacityBytes - disk.freeBytes, disk.capacityBytes);
  const sensor = store.sensors.find(({ uuid }) => uuid === disk.uuid);
  const loss = status.forecast.disks.find(({ uuid }) => uuid === disk.uuid);
  return h(
    'li',
    { class: `card disk ${tone}`, key: disk.uuid, 'data-disk': disk.number },
    drawing(isHere ? used : 0, tone),
    h(
      'div',
      { class: 'about' },
      h('h3', {}, nameOf(disk), ' ', badge(tone, word)),
      h('p', { class: 'path' }, disk.directory),
      isHere
        ? [
            bar(
              used,
              `${nameOf(disk)}: ${Math.round(used)} % in use`,
              used > NEARLY_FULL_PERCENT ? 'warning' : 'quiet',
            ),
            h(
              'p',
              { class: 'more' },
              `${formatBytes(disk.liveBytes)} used of ${formatBytes(disk.capacityBytes)}, ${formatBytes(disk.freeBytes)} free`,
            ),
          ]
        : h('p', { class: 'why' }, sentence(disk.reason)),
      sensorLine(sensor),
      lossLine(loss, isHere, status),
      disk.role === 'data'
        ? h(
            'div',
            { class: 'actions' },
            button('Replace…', () => openWizard('replace', disk), {
              class: 'plain',
              'aria-label': `Replace ${nameOf(disk)}`,
            }),
            button('Remove…', () => openWizard('remove', disk), {
              class: 'plain',
              'aria-label': `Remove ${nameOf(disk)}`,
            }),
          )
        : undefined,
    ),
  );
}

/** A disk as it looks in the hand, filled as far as it is used. */
function drawing(used: number, tone: Tone): Element_ {
  const height = (used / 100) * 56;
  return h(
    'svg',
    { class: `drawing ${tone}`, viewBox: '0 0 48 72', 'aria-hidden': 'true' },
    h('rect', { class: 'case', x: 2, y: 2, width: 44, height: 68, rx: 5 }),
    h('rect', { class: 'fill', x: 6, y: 6 + 56 - height, width: 36, height, rx: 2 }),
    h('circle', { class: 'platter', cx: 24, cy: 30, r: 15 }),
    h('circle', { class: 'hub', cx: 24, cy: 30, r: 4 }),
    h('circle', { class: 'light', cx: 39, cy: 65, r: 2.2 }),
  );
}

function sensorLine(sensor: DiskSensor | undefined): Child {
  if (sensor === undefined) return undefined;
  const { temperatureCelsius, smart, model, poweredOnHours, reallocatedSectors, pendingSectors } = sensor;
  const parts = [
    model,
    temperatureCelsius === null ? undefined : `${temperatureCelsius} °C`,
    smart === null ? undefined : smart === 'passed' ? 'SMART passed' : 'SMART: FAILING',
    poweredOnHours === null ? undefined : `${Math.round(poweredOnHours / 24).toLocaleString('en')} days powered on`,
    reallocatedSectors ? counted(reallocatedSectors, 'replaced sector') : undefined,
    pendingSectors ? counted(pendingSectors, 'unreadable sector') : undefined,
  ].filter((part) => typeof part === 'string');
  return parts.length === 0
    ? undefined
    : h('p', { class: smart === 'failing' ? 'more bad' : 'more' }, parts.join(' · '));
}

/** Why temperature and SMART are not shown, once for all disks that say the same. */
function sensorNotes(): Child {
  const reasons = new Set(store.sensors.map(({ why }) => why).filter((why) => why !== ''));
  return [...reasons].map((why) =>
    h(
      'p',
      { class: 'more', key: why },
      `Temperature and SMART are not shown${store.sensors.every((each) => each.why === why) ? '' : ' of some disks'}: ${why}.`,
    ),
  );
}

function lossLine(loss: DiskLoss | undefined, isHere: boolean, { forecast }: PoolStatus): Child {
  if (loss === undefined || !isHere) return undefined;
  const counted = Math.floor(forecast.counted * 100);
  if (loss.bytes > 0)
    return h(
      'p',
      { class: 'loss bad' },
      `If it died now: ${formatBytes(loss.bytes)} would be lost${counted < 100 ? `, and more may be: counting, ${counted} % so far` : ''}.`,
    );
  return h(
    'p',
    { class: 'loss' },
    counted < 100
      ? `What would be lost if it died now: counting, ${counted} % so far.`
      : 'If it died now: nothing would be lost.',
  );
}

/** The cache is a device that can die as well. */
function cacheCard(status: PoolStatus): Element_ | undefined {
  const loss = status.forecast.disks.find(({ role }) => role === 'cache');
  if (loss === undefined) return undefined;
  const used = percent(status.cacheBytes, status.cacheCapacityBytes);
  return h(
    'li',
    { class: 'card disk', key: 'cache' },
    drawing(used, 'quiet'),
    h(
      'div',
      { class: 'about' },
      h('h3', {}, 'Cache'),
      h('p', { class: 'path' }, loss.directory),
      bar(used, `Cache: ${Math.round(used)} % in use`),
      h('p', { class: 'more' }, `${formatBytes(status.cacheBytes)} of ${formatBytes(status.cacheCapacityBytes)}`),
      h(
        'p',
        { class: loss.bytes === 0 ? 'loss' : 'loss soon' },
        loss.bytes === 0
          ? 'If it died now: nothing would be lost.'
          : `If it died now: ${formatBytes(loss.bytes)} that are not committed yet would be lost.`,
      ),
    ),
  );
}

function capacity(status: PoolStatus): Element_ {
  const { capacity: plan } = store;
  const used = 100 - percent(status.freeBytes, status.usableBytes);
  const unused = plan?.disks.filter(({ unusedBytes }) => unusedBytes > 0) ?? [];
  return section(
    'capacity',
    'Room',
    h(
      'p',
      { class: 'figure' },
      h('strong', {}, formatBytes(status.freeBytes)),
      ` free of ${formatBytes(status.usableBytes)}`,
    ),
    bar(used, `${Math.round(used)} % of the room in use`, used > NEARLY_FULL_PERCENT ? 'warning' : 'quiet'),
    facts([
      ['In use', `${formatBytes(status.usedBytes)} in ${status.files.toLocaleString('en')} files and directories`],
      ...heldBack(status),
      [
        'Kept as',
        status.groups
          .map(
            ({ scheme, count, degraded }) =>
              `${schemeText(scheme)} (${counted(count, 'group')}${degraded > 0 ? `, ${degraded} degraded` : ''})`,
          )
          .join(', '),
      ],
      [
        'Built for',
        plan === undefined
          ? '…'
          : plan.survives === 0
            ? 'the loss of no disk'
            : `the loss of any ${counted(plan.survives, 'disk')}`,
      ],
      ...(plan === undefined
        ? []
        : ([
            ['Costs', `${formatBytes(plan.rawBytes)} of disks, ${plan.overhead.toFixed(2)} bytes for each byte kept`],
          ] as const)),
    ]),
    plan === undefined
      ? undefined
      : unused.length === 0
        ? h('p', { class: 'more' }, 'Every disk is used as far as it can be.')
        : h(
            'ul',
            { class: 'reasons' },
            unused.map(({ disk, unusedBytes, reasons }) =>
              h(
                'li',
                { key: String(disk) },
                `Disk ${disk}: ${formatBytes(unusedBytes)} not used. ${reasons.join(' ')}`,
              ),
            ),
          ),
    findingsOf(status).map((finding) => h('p', { class: 'finding', key: finding }, finding)),
  );
}

/** Neither in use nor free. */
function heldBack({ usableBytes, usedBytes, freeBytes, disks }: PoolStatus): readonly (readonly [string, string])[] {
  const bytes = usableBytes - usedBytes - freeBytes;
  const why = disks.every(({ state }) => state === 'online')
    ? 'so that what was taken can always be committed'
    : 'as long as a disk is away';
  return bytes <= 0 ? [] : [['Held back', `${formatBytes(bytes)}, ${why}`]];
}

/** What the planner says besides the reasons of single disks, of disks that are here. */
function findingsOf({ disks }: PoolStatus): readonly string[] {
  const plan = store.capacity;
  const reasons = new Set(plan?.disks.flatMap((disk) => disk.reasons) ?? []);
  return (plan?.findings ?? []).filter((finding) => {
    const number = /^Disk (\d+) /.exec(finding)?.[1];
    return !reasons.has(finding) && (number === undefined || disks.some((disk) => String(disk.number) === number));
  });
}

/** `ec:2+1` as words. */
function schemeText(scheme: string): string {
  const coded = /^ec:(\d+)\+(\d+)$/.exec(scheme);
  if (coded !== null) return `${coded[1]} data + ${coded[2]} parity`;
  const copies = /^copies:(\d+)$/.exec(scheme);
  return copies === null ? scheme : copies[1] === '1' ? 'one copy' : `${copies[1]} copies`;
}

const JOB_TITLES: Readonly<Record<string, string>> = {
  scrub: 'Scrub: reads and checks everything',
  repair: 'Repair: makes data whole again',
  rebalance: 'Moving data between disks',
};

function jobs(status: PoolStatus): Element_ {
  const names = [...status.jobs].sort((a, b) => rank(a.state) - rank(b.state));
  return section(
    'jobs',
    'Work in the background',
    names.length === 0 ? h('p', { class: 'empty' }, 'Nothing was started yet.') : undefined,
    h(
      'ul',
      { class: 'jobs' },
      names.map((job) => {
        const { name, state, line, doneBytes, totalBytes, bytesPerSecond, leftMs, fullSpeed, endedMs } = job;
        const isAtWork = state === 'running' || state === 'waiting' || state === 'paused';
        const share = percent(doneBytes, totalBytes);
        const title = JOB_TITLES[name] ?? name;
        return h(
          'li',
          { key: name },
          h('h3', {}, title, ' ', badge(state === 'failed' ? 'warning' : state === 'done' ? 'good' : 'note', state)),
          line === state ? undefined : h('p', { class: 'more' }, sentence(line)),
          endedMs === null ? undefined : h('p', { class: 'more' }, `Ended ${ago(endedMs)}.`),
          isAtWork ? bar(share, `${title}: ${Math.round(share)} % done`, 'note') : undefined,
          isAtWork
            ? h(
                'p',
                { class: 'more' },
                `${formatBytes(doneBytes)} of ${totalBytes === 0 ? 'an unknown number of bytes' : formatBytes(totalBytes)}, ${rate(bytesPerSecond)}${leftMs === null ? '' : `, about ${duration(leftMs)} left`}`,
              )
            : undefined,
          h(
            'div',
            { class: 'actions' },
            state === 'running' || state === 'waiting' ? jobButton(name, 'pause', 'Pause', title) : undefined,
            state === 'paused' || state === 'failed' ? jobButton(name, 'resume', 'Resume', title) : undefined,
            isAtWork || state === 'failed'
              ? jobButton(name, 'pace', fullSpeed ? 'Stand back for users' : 'Full speed', title, {
                  fullSpeed: !fullSpeed,
                })
              : undefined,
            isAtWork ? jobButton(name, 'cancel', 'Cancel', title) : undefined,
          ),
        );
      }),
    ),
    names.some(({ name, state }) => name === 'scrub' && (state === 'running' || state === 'paused'))
      ? undefined
      : h('div', { class: 'actions' }, jobButton('scrub', 'start', 'Check everything now (scrub)', 'Scrub')),
  );
}

function rank(state: string): number {
  return state === 'running' ? 0 : state === 'waiting' || state === 'paused' ? 1 : 2;
}

function jobButton(name: string, action: string, text: string, title: string, body: object = {}): Element_ {
  return button(text, () => void tellJob(name, action, body), {
    class: 'plain',
    'aria-label': `${text}: ${title}`,
    key: text,
  });
}

async function tellJob(name: string, action: string, body: object): Promise<void> {
  try {
    const job = await ask<{ state: string; fullSpeed: boolean }>(`/v1/jobs/${name}/${action}`, body);
    const speed = action === 'pace' ? `, ${job.fullSpeed ? 'at full speed' : 'and stands back for users'}` : '';
    store.notice = `${name} is ${job.state}${speed}.`;
  } catch (error) {
    store.notice = textOf(error);
  }
  changed();
}

function events(): Element_ {
  const { events: all } = store;
  return section(
    'events',
    'What happened',
    all.length === 0 ? h('p', { class: 'empty' }, 'Nothing yet.') : undefined,
    h(
      'ol',
      { class: 'events' },
      all
        .slice(0, EVENTS_SHOWN)
        .map(({ id, atMs, severity, message, advice }) =>
          h(
            'li',
            { key: String(id) },
            h(
              'span',
              { class: `sign ${severity}`, 'aria-hidden': 'true' },
              { good: '✓', note: 'i', warning: '!', alarm: '✕' }[severity],
            ),
            h('div', {}, h('p', {}, message), advice === '' ? undefined : h('p', { class: 'more' }, advice)),
            h('time', { datetime: new Date(atMs).toISOString(), title: new Date(atMs).toLocaleString() }, ago(atMs)),
          ),
        ),
    ),
  );
}
