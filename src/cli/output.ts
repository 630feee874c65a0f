/** Where a command writes: stdout, stderr, or a test's string. */
export interface Output {
  readonly isTTY: boolean;
  /** Width of the terminal; 80 where there is none. */
  readonly columns: number;
  write(text: string): void;
}

export class StreamOutput implements Output {
  readonly #stream: NodeJS.WriteStream;

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream;
  }

  get isTTY(): boolean {
    return this.#stream.isTTY === true && process.env['TERM'] !== 'dumb';
  }

  get columns(): number {
    // A terminal that does not know its width says 0.
    return this.#stream.columns || 80;
  }

  write(text: string): void {
    this.#stream.write(text);
  }
}
