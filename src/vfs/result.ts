import type { Result } from './vfs.js';

/** `next` of the value: at once if it is there, after the promise otherwise. */
export function chain<T, U>(value: Result<T>, next: (value: T) => Result<U>): Result<U> {
  return value instanceof Promise ? value.then(next) : next(value);
}
