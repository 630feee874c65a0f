/** Where a command writes: stdout, stderr, or a test's string. */
export interface Output {
  readonly isTTY: boolean;
  /** A terminal that is to have colours: not where NO_COLOR (no-color.org) says otherwise. */
  readonly hasColour: boolean;
  readonly isUtf8: boolean;
  /** Width of the terminal; 80 where there is none. */
  readonly columns: number;
  /** Its height; 24 where there is none. */
  readonly rows: number;
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

  get hasColour(): boolean {
    return this.isTTY && (process.env['NO_COLOR'] ?? '') === '';
  }

  get isUtf8(): boolean {
    const { LC_ALL, LC_CTYPE, LANG } = process.env;
    return /utf-?8/i.test(LC_ALL || LC_CTYPE || LANG || '');
  }

  get columns(): number {
    // A terminal that does not know its width says 0.
    return this.#stream.columns || 80;
  }

  get rows(): number {
    return this.#stream.rows || 24;
  }

  write(text: string): void {
    this.#stream.write(text);
  }
}
