/**
 * The check of a pool that no daemon has. Without repair nothing of it is written: it is opened on a LookingMachine. Repair then opens it for
 * real, which mends what every mount mends, repairs, and looks once more in the same way.
 *
 * The pool's lock is held while it is looked at and while it is repaired, so that no daemon starts meanwhile.
 */
import { renameSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { CairnError, hasCode } from '../errors/cairn-error.js';
import { checkDisksAlone, checkPool } from '../fsck/check-pool.js';
import type { CheckFinding, CheckProgress, CheckReport, CheckRequest } from '../vfs/reports.js';
import { loadConfig, type PoolConfig } from './config.js';
import { LookingMachine } from './looking-machine.js';
import { metaPath, SystemMachine } from './machine.js';
import { PoolDisks } from './open-disks.js';
import { Pool } from './pool.js';
import { silentLog } from './pool-log.js';

export interface OfflineCheckOptions {
  readonly onProgress?: (progress: CheckProgress) => void;
  readonly signal?: AbortSignal | undefined;
}

/** NOT_FOUND and CONFIG if there is no pool, LOCKED if a process has it, ABORTED; damage is in the report. */
export async function checkOffline(
  directory: string,
  request: CheckRequest,
  options: OfflineCheckOptions = {},
): Promise<CheckReport> {
  return new OfflineCheck(resolve(directory), request, options).run();
}

/** Findings for which the metadata store's file is put aside, so that it is made anew from the disks. */
const META_ASIDE: ReadonlySet<string> = new Set(['metadata-unreadable', 'metadata-unusable']);

interface Look {
  readonly report: CheckReport;
  /** Disks whose index is to be made anew. */
  readonly badIndexes: ReadonlySet<string>;
  /** The pool can be opened. */
  readonly opens: boolean;
}

class OfflineCheck {
  readonly #directory: string;
  readonly #request: CheckRequest;
  readonly #options: OfflineCheckOptions;

  constructor(directory: string, request: CheckRequest, options: OfflineCheckOptions) {
    this.#directory = directory;
    this.#request = request;
    this.#options = options;
  }

  async run(): Promise<CheckReport> {
    const started = performance.now();
    const config = await loadConfig(new SystemMachine().io, this.#directory);
    const look = await this.#look(config);
    const elapsed = (report: CheckReport): CheckReport => ({ ...report, elapsedMs: performance.now() - started });
    if (!this.#request.repair || look.report.findings.length === 0 || !look.opens) return elapsed(look.report);
    const failures = await this.#repair(config, look);
    const after = await this.#look(config);
    const findings = [...after.report.findings, ...failures];
    const left = new Set(findings.map(({ code, message }) => `${code} ${message}`));
    const repaired = look.report.findings.filter(({ code, message }) => !left.has(`${code} ${message}`));
    return elapsed({ ...after.report, findings, repaired });
  }

  /** Opens the pool without changing it, and checks it. */
  async #look(config: PoolConfig): Promise<Look> {
    const machine = new LookingMachine();
    try {
      return await this.#lookOn(machine, config);
    } catch (error) {
      // A store that fails in the middle of recovery: the disks have all of it.
      if (!hasCode(error, 'CORRUPT')) throw error;
      const without = new LookingMachine(true);
      without.badMeta = error.message;
      try {
        return await this.#lookOn(without, config);
      } finally {
        without.destroy();
      }
    } finally {
      machine.destroy();
    }
  }

  async #lookOn(machine: LookingMachine, config: PoolConfig): Promise<Look> {
    let pool: Pool;
    try {
      pool = await Pool.open(this.#directory, { machine, isResting: true });
    } catch (error) {
      if (!(error instanceof CairnError)) throw error;
      // Of what is left, CORRUPT is the store's: it is tried without.
      if (['LOCKED', 'CONFIG', 'NOT_FOUND'].includes(error.code)) throw error;
      if (error.code === 'CORRUPT' && machine.badMeta === undefined) throw error;
      return this.#withoutPool(machine, config, error);
    }
    const spare = await machine.openSpare();
    try {
      const { content } = this.#request;
      const { asFound } = machine;
      const report = await checkPool(pool.parts, { content, asFound, spare, ...this.#options });
      const findings = [...this.#found(machine), ...report.findings];
      const wrong = report.findings.some(({ code }) => code.startsWith('index-') || code === 'bucket-bytes');
      const bad = new Set(wrong ? config.disks.map((disk) => disk.directory) : machine.badIndexes.keys());
      return { report: { ...report, findings, clean: isClean(findings) }, badIndexes: bad, opens: true };
    } finally {
      await spare.close();
      await pool.abandon();
    }
  }

  /** What opening it has had to do without. */
  #found({ badIndexes, badMeta }: LookingMachine): CheckFinding[] {
    const findings: CheckFinding[] = [...badIndexes].map(([directory, reason]) => ({
      severity: 'damage',
      code: 'index-unusable',
      message: `the index of the disk at ${directory} cannot be used: ${reason}. The log has all that it says`,
      advice: 'it is made anew at the next mount, or with `cairn fsck --repair`',
      files: [],
      moreFiles: 0,
    }));
    if (badMeta !== undefined)
      findings.push({
        severity: 'damage',
        code: 'metadata-unusable',
        message: `the metadata store cannot be used: ${badMeta}. The disks hold all of it`,
        advice: 'it is made anew from the disks with `cairn fsck --repair`',
        files: [],
        moreFiles: 0,
      });
    return findings;
  }

  async #withoutPool(machine: LookingMachine, config: PoolConfig, failure: CairnError): Promise<Look> {
    const found: CheckFinding = {
      severity: 'loss',
      code: 'pool-cannot-open',
      message: `the pool cannot be opened: ${failure.message}`,
      advice: failure.hint ?? '`cairn rescue` gets out of bare disks what can be read',
      files: [],
      moreFiles: 0,
    };
    const disks = await PoolDisks.open(machine, config, silentLog);
    try {
      const alone = await checkDisksAlone(machine.io, disks.opened, this.#options, () => {});
      const findings = [found, ...this.#found(machine), ...alone.findings];
      const report: CheckReport = { format: 1, clean: false, repaired: [], elapsedMs: 0, ...alone, findings };
      return { report, badIndexes: new Set(), opens: false };
    } finally {
      await disks.close();
    }
  }

  /** Returns what did not succeed. */
  async #repair(config: PoolConfig, { report, badIndexes }: Look): Promise<CheckFinding[]> {
    const codes = new Set(report.findings.map(({ code }) => code));
    const lock = await new SystemMachine().io.lock(join(this.#directory, 'lock'));
    try {
      // Made anew from the logs when the disk is opened.
      for (const directory of badIndexes)
        for (const suffix of ['', '-wal', '-shm', '-journal'])
          rmSync(join(directory, `index.sqlite${suffix}`), { force: true });
      if ([...META_ASIDE].some((code) => codes.has(code))) putAside(metaPath(config.metaDirectory, config.pool));
    } finally {
      await lock.release();
    }
    const pool = await Pool.open(this.#directory, { isResting: true });
    const spares = new LookingMachine();
    try {
      const spare = await spares.openSpare();
      try {
        const repaired = await checkPool(pool.parts, { ...this.#request, spare, ...this.#options });
        return repaired.findings.filter(({ code }) => code === 'repair-failed');
      } finally {
        await spare.close();
      }
    } finally {
      await pool.abandon();
      spares.destroy();
    }
  }
}

/** The damaged store is kept, under another name: nothing is thrown away that may be the only copy of something. */
function putAside(path: string): void {
  const stamp = new Date().toISOString().replace(/[:.]/g, '-');
  for (const suffix of ['-wal', '-shm', '-journal', '']) {
    try {
      renameSync(path + suffix, `${path}.damaged-${stamp}${suffix}`);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
}

function isClean(findings: readonly CheckFinding[]): boolean {
  return findings.every(({ severity }) => severity === 'note');
}
