/** This process's memory, and how to make it smaller (idle-memory.ts says when). */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { type Addon, loadAddon } from '../../native/addon.js';
import type { ProcessMemory } from './idle-memory.js';

export class OwnMemory implements ProcessMemory {
  readonly #addon: Addon = loadAddon();
  #collect: (() => void) | undefined;

  processorMs(): number {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1000;
  }

  residentBytes(): number {
    return process.memoryUsage.rss();
  }

  collect(): void {
    this.#collect ??= findCollector();
    this.#collect();
  }

  trim(): void {
    this.#addon.trimMemory();
  }
}

/** V8 offers its collector only to contexts that are made while this is set, and shrinks its heap only with it: left alone it keeps what it once had. */
function findCollector(): () => void {
  setFlagsFromString('--expose-gc');
  try {
    return runInNewContext('gc') as () => void;
  } finally {
    setFlagsFromString('--no-expose-gc');
  }
}
