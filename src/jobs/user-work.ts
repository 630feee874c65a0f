/** Counts what users ask of the pool, so that background work knows when to stand back. Costs an addition per request. */
export class UserWork {
  #requests = 0;
  #waiting = 0;
  readonly #onQuiet: (() => void)[] = [];

  /** Requests since the start. */
  get requests(): number {
    return this.#requests;
  }

  /** Requests whose answer somebody waits for. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Counts a request with its answer, which it returns. */
  count<T>(answer: T | Promise<T>): T | Promise<T> {
    this.#requests += 1;
    if (!(answer instanceof Promise)) return answer;
    this.#waiting += 1;
    const answered = (): void => {
      this.#waiting -= 1;
      if (this.#waiting === 0) for (const resolve of this.#onQuiet.splice(0)) resolve();
    };
    answer.then(answered, answered);
    return answer;
  }

  /** Resolves as soon as nobody waits for an answer. */
  quiet(): Promise<void> {
    if (this.#waiting === 0) return Promise.resolve();
    return new Promise((resolve) => this.#onQuiet.push(resolve));
  }
}
