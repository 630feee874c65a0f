/**
 * The last few buckets that move so that the disks hold equally much of what is there already.
 *
 * What `make-room.ts` moves is the least that the new groups need. It leaves the new disk short of its share by what rounding makes of it: a bucket or
 * two for each disk. Here each further move goes from the fullest failure domain to the emptiest, as long as that brings them nearer and leaves the new groups their
 * room: so no move is wasted, and the number in all stays within a bucket for each domain of the least that evenness takes. Where nothing has to move for
 * room's sake (a disk whose buckets can form groups among themselves), nothing moves for evenness either.
 */
import type { Layout } from './layout.js';
import { type Demand, isRoomFor } from './make-room.js';
import { type Move, MovingMembers } from './moving-members.js';

/** `moves` and the few more after which the present groups' buckets are spread evenly over the domains, each by its size. */
export function evenMoves(layout: Layout, moves: readonly Move[], demands: readonly Demand[]): readonly Move[] {
  if (moves.length === 0) return moves;
  const members = new MovingMembers(layout, moves);
  const free = layout.domains.map((domain) => domain.free);
  const used = layout.domains.map(({ total, free: unused }) => total - unused);
  for (const { group, member, to } of moves) shift(free, used, layout.groups[group]!.members[member]!.domain, to);
  for (let more = 0; more < layout.domains.length; more += 1) {
    const pair = nextPair(layout, members, free, used, demands);
    if (pair === undefined) break;
    shift(free, used, pair.from, pair.to);
  }
  return members.moves();
}

/** Moves a bucket between the pair that are furthest apart of those that can; undefined if none comes nearer by it. */
function nextPair(
  layout: Layout,
  members: MovingMembers,
  free: readonly number[],
  used: readonly number[],
  demands: readonly Demand[],
): { from: number; to: number } | undefined {
  const domains = layout.domains.flatMap(({ total }, domain) => (total > 0 ? [domain] : []));
  const share = (domain: number, change: number): number => (used[domain]! + change) / layout.domains[domain]!.total;
  const fullest = [...domains].sort((a, b) => share(b, 0) - share(a, 0) || a - b);
  const emptiest = [...domains].sort((a, b) => share(a, 0) - share(b, 0) || a - b);
  for (const from of fullest) {
    for (const to of emptiest) {
      if (from === to || share(from, -1) < share(to, 1)) break;
      if (free[to] === 0) continue;
      const after = [...free];
      after[from]! += 1;
      after[to]! -= 1;
      if (isRoomFor(after, demands) && members.moveOne(from, to)) return { from, to };
    }
  }
  return undefined;
}

function shift(free: number[], used: number[], from: number, to: number): void {
  free[from]! += 1;
  free[to]! -= 1;
  used[from]! -= 1;
  used[to]! += 1;
}
