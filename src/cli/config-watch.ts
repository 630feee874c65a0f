/**
 * Watches cairn.toml while its pool is mounted. A change is applied as far as that is possible; what has to wait for the next mount, and a file that is
 * not valid, is said by name in the log and in `cairn status` for as long as it is so, and the settings from before stay in use.
 *
 * It is the directory that is watched: editors put a new file in the place of the old one. (inotify does not see what another machine does on a network file system.)
 */
import { type FSWatcher, readFileSync, watch } from 'node:fs';
import { join } from 'node:path';
import type { Clock, Timer } from '../io/clock.js';
import { loadConfig, type PoolConfig } from '../pool/config.js';
import { CONFIG_NAME } from '../pool/config-limits.js';
import { changedKeys } from '../pool/live-settings.js';
import type { PoolLog } from './pool-opener.js';
import { errorLine } from './show-error.js';

/** An editor writes a file in several steps. */
const SETTLE_MS = 200;

export interface ConfigUser {
  /** What is in use. */
  current(): PoolConfig;
  /** Takes over what it can; rejects if it cannot, with everything as before. */
  apply(config: PoolConfig): Promise<void>;
}

export class ConfigWatch {
  readonly #directory: string;
  readonly #user: ConfigUser;
  readonly #log: PoolLog;
  readonly #clock: Clock;
  #watcher: FSWatcher | undefined;
  #timer: Timer | undefined;
  #text: string | undefined;
  #inFile: PoolConfig | undefined;
  #refusal: string | undefined;
  /** Changes are taken one after the other. */
  #turn: Promise<void> = Promise.resolve();

  constructor(parts: { poolDirectory: string; user: ConfigUser; log: PoolLog; clock: Clock }) {
    this.#directory = parts.poolDirectory;
    this.#user = parts.user;
    this.#log = parts.log;
    this.#clock = parts.clock;
    this.#text = this.#read();
  }

  start(): void {
    try {
      this.#watcher = watch(this.#directory, { persistent: false }, (_event, name) => {
        if (name === CONFIG_NAME) this.#soon();
      });
      this.#watcher.on('error', (error) => this.#blind(error));
    } catch (error) {
      this.#blind(error);
    }
  }

  /** Sentences for `cairn status`; none if the pool works with what is in the file. */
  findings(): string[] {
    if (this.#refusal !== undefined)
      return [`cairn.toml is not used as it is, and the settings from before stay: ${this.#refusal}`];
    const waiting = this.#inFile === undefined ? [] : changedKeys(this.#user.current(), this.#inFile);
    return waiting.length === 0
      ? []
      : [`cairn.toml has changed: ${waiting.join(', ')} will be used from the next mount on`];
  }

  async close(): Promise<void> {
    this.#watcher?.close();
    this.#timer?.cancel();
    await this.#turn;
  }

  #soon(): void {
    this.#timer?.cancel();
    this.#timer = this.#clock.after(SETTLE_MS, () => {
      this.#turn = this.#turn.then(() => this.#take());
    });
  }

  async #take(): Promise<void> {
    const text = this.#read();
    // The pool's own writing, or a touch.
    if (text === this.#text && this.#refusal === undefined) return;
    this.#text = text;
    try {
      const config = await loadConfig({ readFile: async () => Buffer.from(text ?? '') }, this.#directory);
      const before = this.#user.current();
      await this.#user.apply(config);
      this.#inFile = config;
      this.#refusal = undefined;
      const waiting = changedKeys(this.#user.current(), config);
      const applied = changedKeys(before, config).filter((key) => !waiting.includes(key));
      if (applied.length > 0) this.#log.info({}, `cairn.toml: in use from now on: ${applied.join(', ')}`);
      if (waiting.length > 0) this.#log.warn({}, `cairn.toml: in use from the next mount on: ${waiting.join(', ')}`);
    } catch (error) {
      const refusal = errorLine(error);
      if (refusal !== this.#refusal)
        this.#log.error({}, `cairn.toml is not used as it is, and the settings from before stay: ${refusal}`);
      this.#refusal = refusal;
    }
  }

  /** Undefined if it is not there; then it is refused like any other that says nothing. */
  #read(): string | undefined {
    try {
      return readFileSync(join(this.#directory, CONFIG_NAME), 'utf8');
    } catch {
      return undefined;
    }
  }

  #blind(error: unknown): void {
    this.#log.warn(
      { err: error },
      'cairn.toml cannot be watched: what is changed in it is used from the next mount on',
    );
  }
}
