/**
 * A bijection of 32-bit integers in which every input bit changes every output bit with probability near one half: MurmurHash3's `fmix32`
 * (Austin Appleby, public domain). Part of the ranking's definition, so never to be changed.
 */
export function mix32(value: number): number {
  let x = value;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}
