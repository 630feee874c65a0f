/**
 * Which bytes of a file have which small tag (cached clean, dirty, being sealed, …): non-overlapping half-open ranges
 * [from, to), each with a value. An index in the sense of DESIGN section 3.3: rebuilt from the stage log.
 *
 * Invariants: ranges are sorted and never empty; two that touch have different values; `size`, `bytes` agree with them.
 *
 * Why this way: a million files have a map of zero to four ranges, so a small map is one array of numbers (from, to,
 * value, from, to, value, …) and an empty one none. A file written at random has a quarter of a million, so a large map
 * is a sorted list of such arrays ("blocks"), split when they grow and joined when they shrink: a change moves at most
 * one block's numbers. Nothing is allocated by a change that splits no block. Beside each block stands which values it may have, so that the few
 * ranges that are not clean are found among many without looking at all of them.
 */
import { assert } from '../errors/cairn-error.js';

/** The position that stands for infinity: ranges that end here have no size and are not counted by `bytes`. */
export const END = Number.MAX_SAFE_INTEGER;

/** What `forEach` reports for a gap. */
export const GAP = -1;

export interface Range {
  readonly from: number;
  readonly to: number;
  readonly value: number;
}

/** Numbers per range in a block. */
const WIDTH = 3;
/** A block longer than this is split. */
const LONGEST = 128 * WIDTH;
/** A block shorter than this is joined with a neighbour if both together are no longer than JOINED. */
const SHORTEST = 32 * WIDTH;
const JOINED = 96 * WIDTH;
/** Up to this many ranges `bytes` adds them up; beyond, totals are kept. */
const UNCOUNTED = 8;
/** So many ranges are changed one by one. */
const FEW = 64;
const NO_RANGES: number[] = [];
/** The mask of a block that nobody has looked at. */
const ANY = -1;

/** Where `find` found it: block, and index within the block (its length: after the last range). Not kept over calls. */
let foundBlock = 0;
let foundIndex = 0;
/** The up to three ranges that take the place of those that a change touches. Not kept over calls. */
const patch = new Float64Array(3 * WIDTH);

export class RangeMap {
  /** The only block while there is just one. */
  #first: number[] = NO_RANGES;
  /** All blocks when there are two or more. */
  #blocks: number[][] | undefined;
  /** Per block, the values that may be in it; more than there are, until somebody looks. Exactly while there are `#blocks`. */
  #masks: number[] = NO_RANGES;
  #size = 0;
  /** Bytes per value; undefined while there are few ranges. */
  #totals: number[] | undefined;

  /** The bit mask of these values, for `covers` and `firstAtOrAfter`. Values from 32 are in no mask. */
  static mask(...values: number[]): number {
    let mask = 0;
    for (const value of values) {
      assert(value >= 0 && value < 32, `value ${value} fits a mask`);
      mask |= 1 << value;
    }
    return mask;
  }

  /** Number of ranges. */
  get size(): number {
    return this.#size;
  }

  get isEmpty(): boolean {
    return this.#size === 0;
  }

  /** Gives [from, to) the value (an integer 0–255), whatever it had. An empty range changes nothing. */
  set(from: number, to: number, value: number): void {
    assert(value >= 0 && value <= 255 && Number.isInteger(value), `value ${value} is a byte`);
    this.#change(from, to, value);
  }

  /** Makes [from, to) a gap. */
  clear(from: number, to: number): void {
    this.#change(from, to, GAP);
  }

  /** The value at a position, undefined in a gap. */
  at(position: number): number | undefined {
    this.#find(position + 1);
    const block = this.#block(foundBlock);
    const from = block[foundIndex];
    return from !== undefined && from <= position ? block[foundIndex + 2] : undefined;
  }

  /** True if every byte of [from, to) has a value that is in the mask (bit 1 << value). An empty range is covered. */
  covers(from: number, to: number, mask: number): boolean {
    if (from >= to) return true;
    this.#find(from + 1);
    let position = from;
    let index = foundIndex;
    for (let b = foundBlock; b < this.#blockCount(); b++, index = 0) {
      const block = this.#block(b);
      for (; index < block.length; index += WIDTH) {
        if (block[index]! > position || !isIn(mask, block[index + 2]!)) return false;
        position = block[index + 1]!;
        if (position >= to) return true;
      }
    }
    return false;
  }

  /**
   * Calls `visit` for every range that meets [from, to), clipped to it, in order; with `gaps` also for what lies between,
   * with the value GAP. `visit` must not change the map.
   */
  forEach(from: number, to: number, visit: (from: number, to: number, value: number) => void, gaps = false): void {
    if (from >= to) return;
    this.#find(from + 1);
    let position = from;
    let index = foundIndex;
    for (let b = foundBlock; b < this.#blockCount() && position < to; b++, index = 0) {
      const block = this.#block(b);
      for (; index < block.length && block[index]! < to; index += WIDTH) {
        const start = Math.max(block[index]!, from);
        const end = Math.min(block[index + 1]!, to);
        if (gaps && start > position) visit(position, start, GAP);
        visit(start, end, block[index + 2]!);
        position = end;
      }
      if (index < block.length) break;
    }
    if (gaps && position < to) visit(position, to, GAP);
  }

  /** As `forEach` without gaps, for ranges with a value in the mask only. Costs what it visits. */
  forEachOf(from: number, to: number, mask: number, visit: (from: number, to: number, value: number) => void): void {
    for (let range = this.firstAtOrAfter(from, mask); range !== undefined; ) {
      if (range.from >= to) return;
      const end = Math.min(range.to, to);
      visit(range.from, end, range.value);
      range = this.firstAtOrAfter(end, mask);
    }
  }

  /** The first range with a value in the mask that ends after `position`, its beginning clipped to `position`. */
  firstAtOrAfter(position: number, mask: number): Range | undefined {
    this.#find(position + 1);
    let index = foundIndex;
    for (let b = foundBlock; b < this.#blockCount(); b++, index = 0) {
      if (!this.#mayHave(b, mask)) continue;
      const block = this.#block(b);
      const isWhole = index === 0;
      for (; index < block.length; index += WIDTH) {
        const value = block[index + 2]!;
        if (isIn(mask, value)) return { from: Math.max(position, block[index]!), to: block[index + 1]!, value };
      }
      if (isWhole) this.#hasNone(b, mask);
    }
    return undefined;
  }

  /** Within [from, to), gives what has `oldValue` the value `newValue`. */
  replace(from: number, to: number, oldValue: number, newValue: number): void {
    const mask = RangeMap.mask(oldValue);
    for (let range = this.firstAtOrAfter(from, mask); range !== undefined && range.from < to; ) {
      const end = Math.min(range.to, to);
      this.set(range.from, end, newValue);
      range = this.firstAtOrAfter(end, mask);
    }
  }

  /** Gives everything that has `oldValue` the value `newValue`: a few ranges by themselves, many in one pass over all. */
  replaceAll(oldValue: number, newValue: number): void {
    assert(newValue >= 0 && newValue <= 255 && Number.isInteger(newValue), `value ${newValue} is a byte`);
    if (this.#size === 0 || oldValue === newValue) return;
    if (this.#hasFew(oldValue)) this.replace(0, END, oldValue, newValue);
    else this.#replaceInOnePass(oldValue, newValue);
  }

  #hasFew(value: number): boolean {
    const mask = RangeMap.mask(value);
    let count = 0;
    let range = this.firstAtOrAfter(0, mask);
    while (range !== undefined && count <= FEW) {
      count++;
      range = this.firstAtOrAfter(range.to, mask);
    }
    return count <= FEW;
  }

  #replaceInOnePass(oldValue: number, newValue: number): void {
    const blocks: number[][] = [];
    let last: number[] = [];
    let size = 0;
    for (let b = 0; b < this.#blockCount(); b++) {
      const block = this.#block(b);
      for (let i = 0; i < block.length; i += WIDTH) {
        const value = block[i + 2] === oldValue ? newValue : block[i + 2]!;
        const end = last.length;
        if (end > 0 && last[end - 1] === value && last[end - 2] === block[i]) {
          last[end - 2] = block[i + 1]!;
          continue;
        }
        if (end === JOINED) {
          blocks.push(last);
          last = [];
        }
        last.push(block[i]!, block[i + 1]!, value);
        size++;
      }
    }
    blocks.push(last);
    this.#size = size;
    this.#first = blocks.length === 1 ? last : NO_RANGES;
    this.#blocks = blocks.length === 1 ? undefined : blocks;
    this.#masks = blocks.length === 1 ? [] : blocks.map(() => ANY);
    this.#totals = undefined;
    this.#keepTotals();
  }

  /** Bytes that have this value; a range up to END does not count. */
  bytes(value: number): number {
    if (this.#totals !== undefined) return this.#totals[value] ?? 0;
    const block = this.#first;
    let sum = 0;
    for (let i = 0; i < block.length; i += WIDTH) {
      if (block[i + 2] === value && block[i + 1] !== END) sum += block[i + 1]! - block[i]!;
    }
    return sum;
  }

  #mayHave(block: number, mask: number): boolean {
    return this.#blocks === undefined || (this.#masks[block]! & mask) !== 0;
  }

  /** All of the block has been looked at. */
  #hasNone(block: number, mask: number): void {
    if (this.#blocks !== undefined) this.#masks[block]! &= ~mask;
  }

  #blockCount(): number {
    return this.#blocks === undefined ? 1 : this.#blocks.length;
  }

  #block(index: number): number[] {
    return this.#blocks === undefined ? this.#first : this.#blocks[index]!;
  }

  /** Finds the first range that ends at or after `position`: that contains it, touches it from the left or lies beyond. */
  #find(position: number): void {
    foundBlock = 0;
    if (this.#blocks !== undefined) {
      // the last block that begins before the position
      let low = 0;
      let high = this.#blocks.length;
      while (high - low > 1) {
        const middle = (low + high) >>> 1;
        if (this.#blocks[middle]![0]! < position) low = middle;
        else high = middle;
      }
      foundBlock = low;
    }
    const block = this.#block(foundBlock);
    let low = 0;
    let high = block.length / WIDTH;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (block[middle * WIDTH + 1]! < position) low = middle + 1;
      else high = middle;
    }
    foundIndex = low * WIDTH;
    if (foundIndex === block.length && foundBlock + 1 < this.#blockCount()) {
      foundBlock++;
      foundIndex = 0;
    }
  }

  /** `set`, and `clear` where the value is GAP. */
  #change(from: number, to: number, value: number): void {
    assert(from >= 0 && to <= END && Number.isInteger(from) && Number.isInteger(to), `${from}–${to} is a range`);
    if (from >= to) return;
    this.#find(from);
    let b = foundBlock;
    let i = foundIndex;
    let block = this.#block(b);
    // one that only touches from the left stays unless it is to be merged
    if (i < block.length && block[i + 1] === from && block[i + 2] !== value) i += WIDTH;
    const startBlock = b;
    const startIndex = i;
    let low = from;
    let high = to;
    let leftFrom = from;
    let leftValue = GAP;
    let rightTo = to;
    let rightValue = GAP;
    let removed = 0;
    for (;;) {
      if (i === block.length) {
        if (b + 1 >= this.#blockCount()) break;
        block = this.#block(++b);
        i = 0;
      }
      const start = block[i]!;
      const end = block[i + 1]!;
      const present = block[i + 2]!;
      if (start > to || (start === to && present !== value)) break;
      if (present === value) {
        if (start <= from && end >= to) return;
        if (start < low) low = start;
        if (end > high) high = end;
      } else {
        if (start < from) {
          leftFrom = start;
          leftValue = present;
        }
        if (end > to) {
          rightTo = end;
          rightValue = present;
        }
      }
      this.#count(start, end, present, -1);
      removed++;
      i += WIDTH;
    }
    let length = 0;
    if (leftValue !== GAP) length = this.#addToPatch(length, leftFrom, from, leftValue);
    if (value !== GAP) length = this.#addToPatch(length, low, high, value);
    if (rightValue !== GAP) length = this.#addToPatch(length, to, rightTo, rightValue);
    if (removed === 0 && length === 0) return;
    this.#size += length / WIDTH - removed;
    this.#applyPatch(startBlock, startIndex, b, i, length);
    this.#keepTotals();
  }

  #addToPatch(length: number, from: number, to: number, value: number): number {
    patch[length] = from;
    patch[length + 1] = to;
    patch[length + 2] = value;
    this.#count(from, to, value, 1);
    return length + WIDTH;
  }

  /** Puts the first `length` numbers of the patch in the place of everything from one position up to another. */
  #applyPatch(startBlock: number, start: number, endBlock: number, end: number, length: number): void {
    if (this.#first === NO_RANGES && this.#blocks === undefined) this.#first = [];
    const block = this.#block(startBlock);
    let after = end;
    if (startBlock !== endBlock) {
      // an end before the first range of a block is the end of the block before it
      const kept = end === 0 ? endBlock : endBlock + 1;
      const tail = end === 0 ? NO_RANGES : this.#block(endBlock);
      block.length = start;
      for (let k = end; k < tail.length; k++) block.push(tail[k]!);
      this.#masks[startBlock]! |= this.#masks[endBlock]!;
      this.#dropBlocks(startBlock + 1, kept);
      after = start;
    }
    const old = block.length;
    const shift = length - (after - start);
    if (shift > 0) {
      for (let k = 0; k < shift; k++) block.push(0);
      for (let k = old - 1; k >= after; k--) block[k + shift] = block[k]!;
    } else if (shift < 0) {
      for (let k = after; k < old; k++) block[k + shift] = block[k]!;
      block.length = old + shift;
    }
    for (let k = 0; k < length; k++) block[start + k] = patch[k]!;
    if (this.#blocks !== undefined)
      for (let k = 2; k < length; k += WIDTH) this.#masks[startBlock]! |= bitOf(patch[k]!);
    if (block.length > LONGEST) this.#split(startBlock, block);
    else if (block.length < SHORTEST) this.#join(startBlock, block);
  }

  #split(index: number, block: number[]): void {
    const middle = Math.floor(block.length / WIDTH / 2) * WIDTH;
    const second = block.slice(middle);
    block.length = middle;
    if (this.#blocks === undefined) {
      this.#blocks = [block, second];
      this.#masks = [ANY, ANY];
      this.#first = NO_RANGES;
    } else {
      this.#blocks.splice(index + 1, 0, second);
      this.#masks.splice(index + 1, 0, this.#masks[index]!);
    }
  }

  #join(index: number, block: number[]): void {
    const blocks = this.#blocks;
    if (blocks === undefined) {
      if (block.length === 0) {
        this.#first = NO_RANGES;
        this.#totals = undefined;
      }
      return;
    }
    const left = index > 0 ? index - 1 : index;
    const into = blocks[left]!;
    const from = blocks[left + 1]!;
    if (block.length > 0 && into.length + from.length > JOINED) return;
    for (const number of from) into.push(number);
    this.#masks[left]! |= this.#masks[left + 1]!;
    this.#dropBlocks(left + 1, left + 2);
  }

  #dropBlocks(from: number, to: number): void {
    const blocks = this.#blocks!;
    blocks.splice(from, to - from);
    this.#masks.splice(from, to - from);
    if (blocks.length > 1) return;
    this.#first = blocks[0]!;
    this.#blocks = undefined;
    this.#masks = [];
  }

  #count(from: number, to: number, value: number, sign: 1 | -1): void {
    const totals = this.#totals;
    if (totals === undefined || to === END) return;
    while (totals.length <= value) totals.push(0);
    totals[value]! += sign * (to - from);
  }

  /** Begins to keep totals when there are more ranges than `bytes` should add up. */
  #keepTotals(): void {
    if (this.#totals !== undefined || this.#size <= UNCOUNTED) return;
    this.#totals = [];
    for (let b = 0; b < this.#blockCount(); b++) {
      const block = this.#block(b);
      for (let i = 0; i < block.length; i += WIDTH) this.#count(block[i]!, block[i + 1]!, block[i + 2]!, 1);
    }
  }
}

function isIn(mask: number, value: number): boolean {
  return (mask & bitOf(value)) !== 0;
}

function bitOf(value: number): number {
  return value < 32 ? 1 << value : 0;
}
