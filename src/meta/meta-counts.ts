/** How many rows the state has: kept up to date by every change, because counting a table costs as much as reading it. */
export interface MetaCounts {
  inodes: number;
  dentries: number;
  extents: number;
  chunks: number;
  /** Plain bytes of all chunks, also of those that wait for collection. */
  chunkBytes: number;
}

export function noCounts(): MetaCounts {
  return { inodes: 0, dentries: 0, extents: 0, chunks: 0, chunkBytes: 0 };
}
