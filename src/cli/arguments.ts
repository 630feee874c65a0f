/** Parsers of option values that make an error of theirs one of usage, which commander shows with the option's name. */
import { InvalidArgumentError } from 'commander';
import { CairnError } from '../errors/cairn-error.js';
import { errorLine } from './show-error.js';
import { formatBytes, parseSize } from './units.js';

export function argument<T>(parse: (text: string) => T): (text: string) => T {
  return (text) => {
    try {
      return parse(text);
    } catch (error) {
      throw new InvalidArgumentError(errorLine(error));
    }
  };
}

/** A size in bytes within limits, a multiple of `step`. */
export function sizeArgument(min: number, max: number, step: number): (text: string) => number {
  return argument((text) => {
    const bytes = parseSize(text);
    if (bytes < min || bytes > max || bytes % step !== 0) {
      const multiple = step === 1 ? '' : `, a multiple of ${formatBytes(step)}`;
      throw new CairnError('INVALID', `it must be from ${formatBytes(min)} to ${formatBytes(max)}${multiple}`);
    }
    return bytes;
  });
}
