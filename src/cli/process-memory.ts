/** This process's memory, and how to make it smaller (idle-memory.ts says when). */
import { setFlagsFromString } from 'node:v8';
import { type Addon, loadAddon } from '../../native/addon.js';
import { findCollector } from '../io/collector.js';
import type { ProcessMemory } from './idle-memory.js';

/**
 * How much V8's heap may grow, in percent of what lives in it, before all of it is collected. Left alone it takes up to 300 on a machine with much memory: what was
 * staged for some seconds is garbage by then, and lies in pages that V8 never gives back while there is work.
 */
const HEAP_GROWTH_PERCENT = 50;

export class OwnMemory implements ProcessMemory {
  readonly #addon: Addon = loadAddon();
  #collect: (() => void) | undefined;

  constructor() {
    setFlagsFromString(`--heap-growing-percent=${HEAP_GROWTH_PERCENT}`);
  }

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
