import type { ExtentRow } from '../meta/rows.js';

/** The part of ascending extents that lies in [from, to), as the extents of another place: `distance` bytes further on, or back where it is negative. */
export function cutExtents(extents: readonly ExtentRow[], from: number, to: number, distance: number): ExtentRow[] {
  const cut: ExtentRow[] = [];
  for (const extent of extents) {
    const start = Math.max(from, extent.offset);
    const end = Math.min(to, extent.offset + extent.length);
    if (start >= end) continue;
    const chunkOffset = extent.chunkOffset + (start - extent.offset);
    cut.push({ ...extent, offset: start + distance, length: end - start, chunkOffset });
  }
  return cut;
}
