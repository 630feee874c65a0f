/** What has to be undone, last first: at the end, after a failure, and when somebody presses Ctrl-C. Each step runs once. */
export class Cleanup {
  readonly #steps: { readonly what: string; readonly undo: () => Promise<void> }[] = [];
  #running: Promise<void> | undefined;

  /** Returns a function that undoes it now. */
  add(what: string, undo: () => Promise<void>): () => Promise<void> {
    const step = { what, undo };
    this.#steps.push(step);
    return async () => {
      const index = this.#steps.indexOf(step);
      if (index < 0) return;
      this.#steps.splice(index, 1);
      await undo();
    };
  }

  /** Goes on after a step that fails, and says what is left over. */
  run(): Promise<void> {
    this.#running ??= this.#undoAll();
    return this.#running;
  }

  async #undoAll(): Promise<void> {
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      try {
        await step.undo();
      } catch (error) {
        process.exitCode = 1;
        process.stderr.write(`bench: could not ${step.what}: ${error instanceof Error ? error.message : error}\n`);
      }
    }
  }
}
