/** A load runs in the worker process, on a directory of either side, and does the same there whichever it is. */

export interface LoadSize {
  /** Of the file that is written and read from end to end. */
  readonly streamBytes: number;
  readonly smallFiles: number;
  readonly smallFileBytes: number;
  /** Of the tree that is unpacked. */
  readonly treeFiles: number;
  /** That are made before the metadata rate is measured again; 0: not at all. */
  readonly manyFiles: number;
  /** Of the file with random access, and how many accesses. */
  readonly randomBytes: number;
  readonly randomOperations: number;
  /** How long loads run that are counted by time. */
  readonly seconds: number;
  /** Of all files that are copied in while the daemon's memory is watched. */
  readonly copyBytes: number;
}

/** By name: bytes or operations per second, or a count. */
export type Figures = Readonly<Record<string, number>>;

export type Load = (directory: string, size: LoadSize) => Figures | Promise<Figures>;
