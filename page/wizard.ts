/** Adding, replacing and removing a disk in steps: where it is, what would be done, done. Nothing is done before its plan was shown. */
import type { DiskChangePlan, DiskChangeRequest, DiskReport } from '../src/vfs/reports.js';
import { ask } from './api.js';
import { button, facts } from './parts.js';
import { changed, store, textOf, type Wizard } from './store.js';
import { type Child, type Element_, h } from './view.js';
import { duration, formatBytes } from './words.js';

const TITLES = { add: 'Add a disk', replace: 'Replace', remove: 'Remove' } as const;

export function openWizard(action: Wizard['action'], disk?: DiskReport): void {
  const wizard: Wizard = {
    action,
    disk: disk === undefined ? '' : String(disk.number),
    name: disk === undefined ? '' : `disk ${disk.number}`,
    directory: '',
    step: 'place',
    consent: false,
    busy: false,
    error: '',
  };
  store.wizard = wizard;
  // What is to be removed need not be placed anywhere.
  if (action === 'remove') void plan(wizard);
  changed();
}

function close(): void {
  store.wizard = undefined;
  changed();
}

function requestOf({ action, disk, directory }: Wizard): DiskChangeRequest {
  switch (action) {
    case 'add':
      return { action, directories: [directory.trim()] };
    case 'replace':
      return { action, disk, directory: directory.trim() };
    case 'remove':
      return { action, disk };
  }
}

async function plan(wizard: Wizard): Promise<void> {
  await during(wizard, async () => {
    wizard.plan = await ask<DiskChangePlan>('/v1/disks/plan', { request: requestOf(wizard) });
    wizard.step = 'plan';
  });
}

async function change(wizard: Wizard): Promise<void> {
  await during(wizard, async () => {
    wizard.plan = await ask<DiskChangePlan>('/v1/disks/change', { request: requestOf(wizard) });
    wizard.step = 'done';
  });
}

async function during(wizard: Wizard, work: () => Promise<void>): Promise<void> {
  const before = wizard.step;
  wizard.busy = true;
  wizard.error = '';
  changed();
  await work().catch((error: unknown) => {
    wizard.error = textOf(error);
  });
  const moved = wizard.step !== before;
  wizard.busy = false;
  changed();
  // What had the focus is gone with its step: whoever uses keys or a reader begins the new one at its title.
  if (moved) requestAnimationFrame(() => requestAnimationFrame(() => document.getElementById('wizard-title')?.focus()));
}

export function wizardDialog(): Element_ | undefined {
  const { wizard } = store;
  if (wizard === undefined) return undefined;
  const title = `${TITLES[wizard.action]}${wizard.name === '' ? '' : ` ${wizard.name}`}`;
  return h(
    'dialog',
    {
      key: `wizard-${wizard.action}-${wizard.disk}`,
      'aria-labelledby': 'wizard-title',
      made: (event) => (event as CustomEvent<HTMLDialogElement>).detail.showModal(),
      onclose: close,
      oncancel: close,
    },
    h('h2', { id: 'wizard-title', tabindex: -1 }, title),
    h('div', { 'aria-live': 'polite' }, wizard.error === '' ? undefined : h('p', { class: 'error' }, wizard.error)),
    wizard.step === 'place' ? placeStep(wizard) : wizard.step === 'plan' ? planStep(wizard) : doneStep(wizard),
  );
}

function placeStep(wizard: Wizard): Child {
  if (wizard.action === 'remove')
    return [
      h('p', {}, wizard.busy ? 'Planning …' : 'There is no plan.'),
      h('div', { class: 'actions' }, button('Close', close, { class: 'plain' })),
    ];
  return h(
    'form',
    {
      onsubmit: (event) => {
        event.preventDefault();
        void plan(wizard);
      },
    },
    h(
      'p',
      {},
      'Put the disk in, make a file system on it, mount it, and make an empty directory there. Then say where:',
    ),
    h('label', { for: 'directory' }, 'Empty directory on the new disk'),
    h('input', {
      id: 'directory',
      type: 'text',
      required: true,
      placeholder: '/mnt/new-disk/cairn',
      autocomplete: 'off',
      spellcheck: 'false',
      autofocus: true,
      value: wizard.directory,
      oninput: (event) => {
        wizard.directory = (event.target as HTMLInputElement).value;
      },
    }),
    h('p', { class: 'more' }, 'What would be done is shown next. Nothing is changed yet.'),
    h(
      'div',
      { class: 'actions' },
      h(
        'button',
        { type: 'submit', class: 'primary', disabled: wizard.busy },
        wizard.busy ? 'Planning …' : 'Show the plan',
      ),
      button('Cancel', close, { class: 'plain' }),
    ),
  );
}

function planStep(wizard: Wizard): Child {
  const { plan: planned } = wizard;
  if (planned === undefined) return undefined;
  const isPossible = planned.refusals.length === 0;
  return [
    planned.refusals.map(({ reason, remedy }) =>
      h('p', { class: 'error', key: reason }, `It cannot be done: ${reason}. To make it possible: ${remedy}.`),
    ),
    facts([
      ...planned.joins.map(
        ({ number, directory, capacityBytes }) =>
          ['Joins', `disk ${number}, ${directory}, ${formatBytes(capacityBytes)}`] as const,
      ),
      ...planned.leaves.map(
        ({ number, directory, isThere }) =>
          ['Leaves', `disk ${number}, ${directory}${isThere ? '' : ' (not there)'}`] as const,
      ),
      [
        'Room',
        `${formatBytes(planned.usableBytesBefore)} before, ${formatBytes(planned.usableBytes)} after; ${formatBytes(planned.usedBytes)} in use`,
      ],
      ['Afterwards', planned.protection],
      [
        'Must move',
        `${formatBytes(planned.moveBytes)} written, ${formatBytes(planned.readBytes)} read; at least ${duration(planned.leastMs)}`,
      ],
    ]),
    h(
      'ul',
      { class: 'reasons' },
      planned.notes.map((note) => h('li', { key: note }, note)),
    ),
    isPossible && planned.needsConsent
      ? h(
          'label',
          { class: 'consent' },
          h('input', {
            type: 'checkbox',
            checked: wizard.consent,
            onchange: (event) => {
              wizard.consent = (event.target as HTMLInputElement).checked;
              changed();
            },
          }),
          ' I have read what this takes away',
        )
      : undefined,
    h(
      'div',
      { class: 'actions' },
      isPossible
        ? button(wizard.busy ? 'Working …' : TITLES[wizard.action], () => void change(wizard), {
            class: 'primary',
            disabled: wizard.busy || (planned.needsConsent && !wizard.consent),
          })
        : undefined,
      wizard.action === 'remove'
        ? undefined
        : button(
            'Back',
            () => {
              wizard.step = 'place';
              changed();
            },
            { class: 'plain' },
          ),
      button('Cancel', close, { class: 'plain' }),
    ),
  ];
}

function doneStep({ plan: done }: Wizard): Child {
  return [
    h(
      'p',
      {},
      done !== undefined && done.moveBytes > 0
        ? 'Done. Data moves in the background now; everything stays readable. Its progress is under “Work in the background”.'
        : 'Done.',
    ),
    h('div', { class: 'actions' }, button('Close', close, { class: 'primary' })),
  ];
}
