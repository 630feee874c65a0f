/**
 * What could not be restored, by name and with the reason: `cairn-rescue.json` for programs, `cairn-rescue.txt` for people. Entries are written
 * to a file as they come, so that a pool of which much is lost needs no memory for it.
 */
import { closeSync, createReadStream, openSync, renameSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathFields } from './path-text.js';
import { REPORT_JSON, REPORT_TEXT, type TargetDirectory } from './target-directory.js';

/** Ranges of one file that are listed one by one. */
const RANGES_MAX = 1000;

export interface LostRange {
  readonly from: number;
  readonly to: number;
  readonly chunk: string;
  /** What each disk that was asked had to say. */
  readonly why: string;
}

/** `lost`: (part of) its content; `refused`: not made at all; `note`: restored, but not in every respect. */
export interface Problem {
  readonly what: 'lost' | 'refused' | 'note';
  readonly path: string;
  readonly pathHex?: string;
  readonly why: string;
  readonly sizeBytes?: number;
  readonly lostBytes?: number;
  readonly ranges?: readonly LostRange[];
  /** Ranges beyond those that are listed. */
  readonly moreRanges?: number;
  /** The file with zeros in the gaps, if it was asked for. */
  readonly partial?: string;
}

/** Ranges of a file that cannot be read, as they come. */
export class LostRanges {
  readonly #ranges: LostRange[] = [];
  #more = 0;
  bytes = 0;

  get count(): number {
    return this.#ranges.length + this.#more;
  }

  add(range: LostRange): void {
    this.bytes += range.to - range.from;
    if (this.#ranges.length < RANGES_MAX) this.#ranges.push(range);
    else this.#more++;
  }

  fields(): Pick<Problem, 'lostBytes' | 'ranges' | 'moreRanges'> {
    return {
      lostBytes: this.bytes,
      ranges: this.#ranges,
      ...(this.#more > 0 && { moreRanges: this.#more }),
    };
  }
}

export class RescueReport {
  readonly #target: TargetDirectory;
  readonly #problemsPath: string;
  readonly #fd: number;
  lost = 0;
  refused = 0;
  notes = 0;
  lostBytes = 0;

  constructor(target: TargetDirectory) {
    this.#target = target;
    this.#problemsPath = join(target.work, 'problems');
    this.#fd = openSync(this.#problemsPath, 'w', 0o600);
  }

  add(path: Uint8Array, what: Problem['what'], why: string, more: Omit<Problem, 'what' | 'path' | 'why'> = {}): void {
    const problem: Problem = { what, ...pathFields(path), why, ...more };
    if (what === 'lost') this.lost++;
    else if (what === 'refused') this.refused++;
    else this.notes++;
    this.lostBytes += more.lostBytes ?? 0;
    writeSync(this.#fd, `${JSON.stringify(problem)}\n`);
  }

  /** Writes both files: `summary` as JSON fields, `text` as the lines at the top. */
  async finish(summary: object, text: readonly string[]): Promise<void> {
    closeSync(this.#fd);
    await this.#write(
      REPORT_JSON,
      function* () {
        yield `${JSON.stringify({ format: 1, ...summary }, null, 2).slice(0, -2)},\n  "problems": [`;
      },
      (problem, index) => `${index === 0 ? '' : ','}\n    ${JSON.stringify(problem)}`,
      '\n  ]\n}\n',
    );
    await this.#write(
      REPORT_TEXT,
      function* () {
        for (const line of text) yield `${line}\n`;
      },
      (problem, index) => `${index === 0 ? '\n' : ''}${problemText(problem)}\n`,
      '',
    );
  }

  close(): void {
    closeSync(this.#fd);
  }

  async #write(
    name: string,
    head: () => Iterable<string>,
    each: (problem: Problem, index: number) => string,
    end: string,
  ): Promise<void> {
    const temporary = join(this.#target.work, name);
    const fd = openSync(temporary, 'w', 0o600);
    try {
      for (const part of head()) writeSync(fd, part);
      let index = 0;
      for await (const line of createInterface({ input: createReadStream(this.#problemsPath), crlfDelay: Infinity }))
        writeSync(fd, each(JSON.parse(line) as Problem, index++));
      writeSync(fd, end);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, join(this.#target.path, name));
  }
}

function problemText({ what, path, why, ranges, moreRanges, partial }: Problem): string {
  const lines = [`${what === 'note' ? 'note' : 'NOT RESTORED'}  ${path}: ${why}`];
  for (const { from, to, chunk, why: reason } of ranges ?? [])
    lines.push(`    bytes ${from} to ${to}: chunk ${chunk}: ${reason}`);
  if (moreRanges !== undefined) lines.push(`    and ${moreRanges} more ranges`);
  if (partial !== undefined) lines.push(`    what could be read is in ${partial}`);
  return lines.join('\n');
}
