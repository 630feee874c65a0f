/** Random hex digits for ids, from bytes that are drawn many at a time: a few bytes cost as much to draw as a thousand. */
import { randomFillSync } from 'node:crypto';

const drawn = Buffer.alloc(2048);
let at = drawn.length;

/** Two digits for each byte, lower case. No byte is given twice. */
export function randomHex(bytes: number): string {
  if (at + bytes > drawn.length) {
    randomFillSync(drawn);
    at = 0;
  }
  at += bytes;
  return drawn.toString('hex', at - bytes, at);
}
