/** What the page knows, in one object; whoever changes it calls `changed`, and the page is drawn again with the next frame. */
import type { DiskSensor, FileVersion, History, HistorySpan, PoolEvent, Pulse, S3Key } from '../monitor/reports.js';
import type { DiskChangePlan, FileListing, FileState, PolicyReport, PoolPlan, PoolStatus } from '../vfs/reports.js';

export type Wizard = {
  readonly action: 'add' | 'replace' | 'remove';
  /** The disk that leaves: its number as text, or its directory. */
  readonly disk: string;
  readonly name: string;
  directory: string;
  step: 'place' | 'plan' | 'done';
  plan?: DiskChangePlan | undefined;
  consent: boolean;
  busy: boolean;
  error: string;
};

export interface Place {
  path: string;
  listing?: FileListing | undefined;
  policy?: PolicyReport | undefined;
  /** `after` of the pages before this one. */
  readonly before: string[];
  error: string;
  selected?: { readonly path: string; state?: FileState; versions?: readonly FileVersion[]; error: string } | undefined;
}

export const store = {
  view: 'overview' as 'overview' | 'files' | 'access',
  login: undefined as undefined | { needs: 'password' | 'key'; error: string; busy: boolean },
  isConnected: true,
  status: undefined as PoolStatus | undefined,
  pulse: undefined as Pulse | undefined,
  events: [] as readonly PoolEvent[],
  sensors: [] as readonly DiskSensor[],
  capacity: undefined as PoolPlan | undefined,
  history: undefined as History | undefined,
  span: 'hour' as HistorySpan,
  /** Where the pointer is in the graphs: a moment. */
  pointed: undefined as number | undefined,
  wizard: undefined as Wizard | undefined,
  place: { path: '/', before: [], error: '' } as Place,
  keys: undefined as undefined | { readonly endpoint: string | null; readonly keys: readonly S3Key[] },
  /** A line about what was just done, for everybody and read aloud. */
  notice: '',
};

let draw: () => void = () => {};
let isPlanned = false;

export function onChange(drawing: () => void): void {
  draw = drawing;
}

export function changed(): void {
  if (isPlanned) return;
  isPlanned = true;
  const run = (): void => {
    isPlanned = false;
    draw();
  };
  // A page in the background gets no frames, and need not be drawn until it is looked at; a timer sees to it all the same.
  if (document.hidden) setTimeout(run, 1000);
  else requestAnimationFrame(run);
}

/** The message of whatever was thrown, with what to do. */
export function textOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const hint = 'hint' in error && typeof error.hint === 'string' && error.hint !== '' ? ` (${error.hint})` : '';
  return `${error.message}${hint}`;
}
