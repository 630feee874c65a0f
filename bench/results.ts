/** The samples of all sides, row by row, and how they are shown. */
import type { Machine } from './machine.js';
import type { Subject } from './subject.js';

export type Unit = 'bytes/s' | '/s' | 'bytes' | 'flushes/op';

interface Row {
  readonly label: string;
  readonly unit: Unit;
  readonly samples: Map<string, number[]>;
}

const PLAIN = 'plain';
const CAIRN = 'cairn';

export class Results {
  readonly #rows = new Map<string, Row>();
  readonly #notes: string[] = [];

  add(side: Subject['side'], label: string, unit: Unit, value: number | undefined): void {
    if (value === undefined || !Number.isFinite(value)) throw new Error(`no figure for ${label}`);
    let row = this.#rows.get(label);
    if (row === undefined) {
      row = { label, unit, samples: new Map() };
      this.#rows.set(label, row);
    }
    row.samples.set(side, [...(row.samples.get(side) ?? []), value]);
  }

  /** Sides beside plain and cairn, in the order in which they were measured first. */
  get #peers(): string[] {
    const sides = new Set([...this.#rows.values()].flatMap(({ samples }) => [...samples.keys()]));
    return [...sides].filter((side) => side !== PLAIN && side !== CAIRN);
  }

  /** A sentence that is shown below the table, once. */
  note(text: string): void {
    if (!this.#notes.includes(text)) this.#notes.push(text);
  }

  toTable(machine: Machine): string {
    const peers = this.#peers;
    const heads = peers.flatMap((peer) => [peer, `cairn : ${peer}`]);
    const lines = [['', machine.fileSystem, 'cairn', `cairn : ${machine.fileSystem}`, ...heads]];
    for (const { label, unit, samples } of this.#rows.values()) {
      const [plain, cairn] = [median(samples.get(PLAIN)), median(samples.get(CAIRN))];
      const beside = peers.flatMap((peer) => {
        const value = median(samples.get(peer));
        return [shown(value, unit), shownRatio(value, cairn)];
      });
      lines.push([label, shown(plain, unit), shown(cairn, unit), shownRatio(plain, cairn), ...beside]);
    }
    const widths = lines[0]!.map((_, column) => Math.max(...lines.map((line) => line[column]!.length)));
    const table = lines.map((line) =>
      line
        .map((text, column) => (column === 0 ? text.padEnd(widths[column]!) : text.padStart(widths[column]!)))
        .join('   ')
        .trimEnd(),
    );
    return [describe(machine), '', ...table, '', ...this.#notes.map((note) => `- ${note}`)].join('\n').trimEnd();
  }

  toJson(machine: Machine): string {
    const rows = [...this.#rows.values()].map(({ label, unit, samples }) => {
      const [plain = [], cairn = []] = [samples.get(PLAIN), samples.get(CAIRN)];
      const [plainMedian, cairnMedian] = [median(plain), median(cairn)];
      const ratio = plainMedian && cairnMedian !== undefined ? cairnMedian / plainMedian : undefined;
      const peers = this.#peers.map((peer) => ({
        peer,
        median: median(samples.get(peer)),
        samples: samples.get(peer),
      }));
      return { label, unit, plainMedian, cairnMedian, ratio, plainSamples: plain, cairnSamples: cairn, peers };
    });
    return JSON.stringify({ machine, rows, notes: this.#notes }, undefined, 2);
  }
}

function describe({ processor, cores, memoryBytes, kernel, node, fileSystem }: Machine): string {
  const memory = `${(memoryBytes / 2 ** 30).toFixed(0)} GiB`;
  return `${processor}, ${cores} cores, ${memory} memory; Linux ${kernel}; node ${node}; beside it ${fileSystem}`;
}

function median(samples: readonly number[] = []): number | undefined {
  const sorted = samples.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 || sorted.length === 0 ? sorted[middle] : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

function shown(value: number | undefined, unit: Unit): string {
  if (value === undefined) return '–';
  if (unit === 'flushes/op') return `${value.toFixed(2)} flushes`;
  if (unit === '/s') return `${Math.round(value).toLocaleString('en-US')} /s`;
  const per = unit === 'bytes/s' ? '/s' : '';
  return value >= 1e9 ? `${(value / 1e9).toFixed(2)} GB${per}` : `${(value / 1e6).toFixed(0)} MB${per}`;
}

function shownRatio(plain: number | undefined, cairn: number | undefined): string {
  return plain === undefined || cairn === undefined || plain === 0 ? '' : (cairn / plain).toFixed(2);
}
