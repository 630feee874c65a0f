/**
 * The errors of one file that nobody has been answered with when they happened: writes and syncs that failed in the background. Each handle
 * that was open then is told each of them exactly once, by its next fsync; a handle opened later is told only if nobody has been yet
 * (Linux's errseq_t, lib/errseq.c). A handle keeps the number that `sample` or `check` gave it.
 *
 * Why numbers: an error costs no walk over the handles, and a handle costs one number. Two errors that nobody has seen between are
 * told as one, the later one.
 */

export class ErrorSequence {
  #number = 0;
  #error: unknown;
  #isPassing = false;
  #isSeen = true;

  /** `passing`: it may still be made good (`withdraw`); such an error never takes the place of one that is not. */
  record(error: unknown, passing: boolean): void {
    if (this.#isSeen) {
      this.#number += 1;
      this.#isSeen = false;
    } else if (passing && !this.#isPassing) return;
    this.#error = error;
    this.#isPassing = passing;
  }

  /** A passing error has been made good: who has not been told of it need not be. */
  withdraw(): void {
    if (!this.#isPassing) return;
    this.#error = undefined;
    this.#isPassing = false;
    this.#isSeen = true;
  }

  /** Where a handle that is opened now begins: before an error that nobody has seen. */
  sample(): number {
    return this.#isSeen ? this.#number : this.#number - 1;
  }

  /** True if nobody has been told of the last error. */
  get isUnseen(): boolean {
    return !this.#isSeen;
  }

  /** The error that a handle at `since` has not been told of, if there is one, and where the handle is from now on. */
  check(since: number): { readonly error: unknown; readonly number: number } {
    if (since === this.#number) return { error: undefined, number: since };
    this.#isSeen = true;
    return { error: this.#error, number: this.#number };
  }
}
