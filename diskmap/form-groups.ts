/**
 * Forming groups: how many of which width hold most beside those that are there (`count-groups.ts`), which buckets must move so that they find
 * room (`make-room.ts`), which more so that the disks are equally full (`even-moves.ts`, `weigh-moves.ts`), and which buckets they get. `README.md` draws it.
 *
 * **Which buckets.** Always one from each of the domains with most free buckets. Gale showed that this greedy choice completes whenever completion is
 * possible, in whatever order the groups come. Among equals a mixed number decides, so that a disk's partners are all the other
 * disks: after its loss every one of them takes part in the rebuild.
 */
import { type Batch, batchesOf, mostUsable, oneLess } from './count-groups.js';
import { DomainHeap } from './domain-heap.js';
import { evenMoves } from './even-moves.js';
import type { GroupShape } from './group-shape.js';
import type { Layout } from './layout.js';
import { movesTowards } from './make-room.js';
import { weighMoves } from './weigh-moves.js';

/** Adds the groups that hold most. Buckets of present groups move into free ones only where the groups could not form without. */
export function formGroups(layout: Layout, shape: GroupShape): void {
  let count = mostUsable(layout, shape);
  let batches = batchesOf(count, shape);
  let moves = movesTowards(layout, batches);
  // Moves have always led there, in all tests (README.md, "As few as can be"); should they not, something smaller is formed.
  while (moves === undefined) {
    count = oneLess(count, shape);
    batches = batchesOf(count, shape);
    moves = movesTowards(layout, batches);
  }
  layout.move(weighMoves(layout, evenMoves(layout, moves, batches)));
  const heap = new DomainHeap(layout.domains.map(({ free }) => free));
  for (const batch of batches) takeGroups(layout, heap, batch);
}

/** Forms a batch out of free buckets, which must suffice. */
function takeGroups(layout: Layout, heap: DomainHeap, { scheme, width, count }: Batch): void {
  const chosen: number[] = [];
  for (let formed = 0; formed < count; formed += 1) {
    chosen.length = 0;
    for (let shard = 0; shard < width; shard += 1) chosen.push(heap.pop());
    layout.addGroup(
      scheme,
      chosen.map((domain) => layout.take(domain)),
    );
    for (const domain of chosen) heap.push(domain, layout.domains[domain]!.free);
  }
}
