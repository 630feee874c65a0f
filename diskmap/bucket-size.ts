/**
 * The size of a bucket for a set of disks. What a disk has beyond whole buckets is lost, so the size is one that divides the disks nearly evenly, and the
 * largest such: every group more makes ranking a little dearer.
 */

const MOST_BYTES = 64 * 1024 ** 3;
/** Below it a bucket would hardly hold a few chunks. */
const LEAST_BYTES = 1024 ** 2;
/** Sizes are multiples of it: the step of chunks and shards' blocks. */
const STEP_BYTES = 64 * 1024;
/**
 * The smallest disk gets so many: buckets are what is moved when a pool grows, and three quarters of 64 is what each of four equal disks holds when the fourth
 * has joined three full ones. A bucket more or less is 2 % of that.
 */
const BUCKETS_AT_LEAST = 64;
/** A bucket's number has 16 bits. */
const BUCKETS_AT_MOST = 65_536;
/** Smaller buckets are not tried once so little of the room is lost to rounding, */
const LOSS_SHARE = 0.001;
/** or once there would be so many of them. */
const BUCKETS_IN_ALL = 20_000;

/** Bytes of a bucket for disks of these sizes, in bytes, none of them zero: from 1 MiB to 64 GiB. */
export function fitBucketBytes(diskBytes: readonly number[]): number {
  const sizes = [...diskBytes].sort((a, b) => b - a);
  const largest = sizes[0] ?? 0;
  const total = sizes.reduce((sum, bytes) => sum + bytes, 0);
  const floor = Math.max(LEAST_BYTES, whole(largest / BUCKETS_AT_MOST) + STEP_BYTES);
  const wished = Math.min(MOST_BYTES, (sizes.at(-1) ?? 0) / BUCKETS_AT_LEAST);
  let most = Math.max(floor, whole(wished));
  let best = most;
  for (;;) {
    const least = Math.max(floor, Math.ceil(most / 2 / STEP_BYTES) * STEP_BYTES);
    for (const bytes of candidates(sizes, least, most)) if (lost(sizes, bytes) < lost(sizes, best)) best = bytes;
    if (lost(sizes, best) <= LOSS_SHARE * total || least <= floor || total / least > BUCKETS_IN_ALL) return best;
    most = least;
  }
}

/** What a pool of these disks loses to rounding. With one copy to spare the largest disk's remainder costs nothing. */
function lost(sizes: readonly number[], bucketBytes: number): number {
  const counted = sizes.length > 1 ? sizes.slice(1) : sizes;
  return counted.reduce((sum, bytes) => sum + (bytes % bucketBytes), 0);
}

/** Sizes within the limits of which a whole number just fills some disk, the largest first. */
function candidates(sizes: readonly number[], least: number, most: number): number[] {
  const found = new Set<number>();
  for (const bytes of new Set(sizes)) {
    for (let parts = Math.ceil(bytes / most); parts * least <= bytes; parts += 1) {
      const each = whole(bytes / parts);
      if (each >= least) found.add(each);
    }
  }
  return [...found].sort((a, b) => b - a);
}

function whole(bytes: number): number {
  return Math.floor(bytes / STEP_BYTES) * STEP_BYTES;
}
