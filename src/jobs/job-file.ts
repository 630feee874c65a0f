/**
 * What is kept of a job: `<pool>/jobs/<name>.json`, always replaced as a whole. It is a note, not a truth: a file that cannot be read, or says
 * nothing that can be understood, is as good as none, and the work begins again.
 */
import { join } from 'node:path';
import * as v from 'valibot';
import { CairnError, hasCode } from '../errors/cairn-error.js';
import type { FileIo } from '../io/file-io.js';
import type { Json } from './job.js';

/** A report or cursor beyond this is a bug of its kind, or not our file. */
const BYTES_MAX = 16 * 1024 * 1024;

export interface KeptJob {
  readonly format: 1;
  readonly state: 'running' | 'paused' | 'done' | 'cancelled' | 'failed';
  readonly options: Json;
  /** null: from the start. */
  readonly cursor: Json;
  readonly line: string;
  readonly doneBytes: number;
  readonly totalBytes: number;
  readonly fullSpeed: boolean;
  readonly startedMs: number;
  readonly endedMs: number | null;
  readonly report: Json;
}

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const json = v.custom<Json>((value) => value !== undefined);

const Kept = v.strictObject({
  format: v.literal(1),
  state: v.picklist(['running', 'paused', 'done', 'cancelled', 'failed']),
  options: json,
  cursor: json,
  line: v.string(),
  doneBytes: count,
  totalBytes: count,
  fullSpeed: v.boolean(),
  startedMs: v.number(),
  endedMs: v.nullable(v.number()),
  report: json,
});

/** CORRUPT if it is not what `encodeJob` makes. */
export function decodeJob(bytes: Uint8Array): KeptJob {
  if (bytes.length > BYTES_MAX) throw new CairnError('CORRUPT', `a job's file of ${bytes.length} bytes`);
  let raw: unknown;
  try {
    raw = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch (cause) {
    throw new CairnError('CORRUPT', "a job's file is not JSON", { cause });
  }
  const kept = v.safeParse(Kept, raw);
  if (!kept.success) throw new CairnError('CORRUPT', `a job's file: ${kept.issues[0].message}`);
  return kept.output;
}

export function encodeJob(kept: KeptJob): Buffer {
  return Buffer.from(`${JSON.stringify(kept)}\n`, 'utf8');
}

export class JobFiles {
  readonly #io: Pick<FileIo, 'makeDirectory' | 'readFile' | 'replaceFile'>;
  readonly #directory: string;

  constructor(io: Pick<FileIo, 'makeDirectory' | 'readFile' | 'replaceFile'>, poolDirectory: string) {
    this.#io = io;
    this.#directory = join(poolDirectory, 'jobs');
  }

  /** undefined if there is none. CORRUPT, IO. */
  async read(name: string): Promise<KeptJob | undefined> {
    try {
      return decodeJob(await this.#io.readFile(this.#path(name)));
    } catch (error) {
      if (hasCode(error, 'NOT_FOUND')) return undefined;
      throw error;
    }
  }

  /** IO, NO_SPACE. */
  async write(name: string, kept: KeptJob): Promise<void> {
    await this.#io.makeDirectory(this.#directory);
    await this.#io.replaceFile(this.#path(name), encodeJob(kept));
  }

  #path(name: string): string {
    return join(this.#directory, `${name}.json`);
  }
}
