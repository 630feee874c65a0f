/**
 * Which groups give a bucket away, where it does not matter for room: those after whose moves the failure domains hold equally many *bytes*.
 *
 * How many buckets move from where to where is settled (`make-room.ts`, `even-moves.ts`), and with full buckets it is all there is to settle. Buckets that are
 * not full differ: a move is exchanged for that of another group between the same two domains whose bucket holds more, or less. An exchange moves half of the difference
 * between the two domains, or as near to it as there is; a few of them suffice.
 */
import type { Layout } from './layout.js';
import type { Move } from './moving-members.js';

/** Exchanges between two domains: each at least halves what separates them, as far as the buckets allow. */
const ROUNDS = 4;

interface Candidate {
  readonly group: number;
  readonly member: number;
  readonly bytes: number;
}

/** As many moves between the same domains, of other groups where that evens out what the domains hold. */
export function weighMoves(layout: Layout, moves: readonly Move[]): readonly Move[] {
  const { held } = layout;
  if (held === undefined || moves.length === 0) return moves;
  const bytesOf = (group: number, member: number): number => held(layout.groups[group]!.members[member]!.bucket);
  const bytes = layout.domains.map(() => 0);
  for (const { members } of layout.groups) for (const { domain, bucket } of members) bytes[domain]! += held(bucket);
  const pairs = new Map<string, { from: number; to: number; moves: Move[] }>();
  for (const move of moves) {
    const from = layout.groups[move.group]!.members[move.member]!.domain;
    bytes[from]! -= bytesOf(move.group, move.member);
    bytes[move.to]! += bytesOf(move.group, move.member);
    const key = `${from} ${move.to}`;
    const pair = pairs.get(key) ?? { from, to: move.to, moves: [] };
    pairs.set(key, pair);
    pair.moves.push(move);
  }
  const moving = new Map<number, number>();
  for (const { group } of moves) moving.set(group, (moving.get(group) ?? 0) + 1);
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const pair of pairs.values()) exchange(layout, pair, bytes, moving, bytesOf);
  }
  return [...pairs.values()].flatMap((pair) => pair.moves);
}

/** The one exchange that brings the two domains nearest to holding equally much for their sizes. */
function exchange(
  layout: Layout,
  pair: { readonly from: number; readonly to: number; readonly moves: Move[] },
  bytes: number[],
  moving: Map<number, number>,
  bytesOf: (group: number, member: number) => number,
): void {
  const { from, to } = pair;
  const [giver, taker] = [layout.domains[from]!.total, layout.domains[to]!.total];
  if (giver === 0 || taker === 0) return;
  // After more of it has moved, both hold the same share of their size.
  const wanted = (bytes[from]! * taker - bytes[to]! * giver) / (giver + taker);
  const others = staying(layout, from, to, moving, bytesOf);
  let best: { at: number; instead: Candidate; more: number } | undefined;
  pair.moves.forEach(({ group, member }, at) => {
    // Of a group that moves more than one bucket the others depend on this one.
    if (moving.get(group) !== 1) return;
    const own = bytesOf(group, member);
    const instead = nearest(others, own + wanted);
    if (instead === undefined) return;
    const more = instead.bytes - own;
    if (Math.abs(wanted - more) < Math.abs(wanted - (best?.more ?? 0))) best = { at, instead, more };
  });
  if (best === undefined) return;
  const { at, instead, more } = best as { at: number; instead: Candidate; more: number };
  moving.delete(pair.moves[at]!.group);
  moving.set(instead.group, 1);
  pair.moves[at] = { group: instead.group, member: instead.member, to };
  bytes[from]! -= more;
  bytes[to]! += more;
}

/** Groups of which nothing moves, with a bucket in `from` and none in `to`, by what that bucket holds. */
function staying(
  layout: Layout,
  from: number,
  to: number,
  moving: ReadonlyMap<number, number>,
  bytesOf: (group: number, member: number) => number,
): Candidate[] {
  const found: Candidate[] = [];
  layout.groups.forEach(({ members }, group) => {
    if (moving.has(group) || members.some(({ domain }) => domain === to)) return;
    const member = members.findIndex(({ domain }) => domain === from);
    if (member >= 0) found.push({ group, member, bytes: bytesOf(group, member) });
  });
  return found.sort((a, b) => a.bytes - b.bytes || a.group - b.group);
}

function nearest(sorted: readonly Candidate[], bytes: number): Candidate | undefined {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (sorted[middle]!.bytes < bytes) low = middle + 1;
    else high = middle;
  }
  const [below, above] = [sorted[low - 1], sorted[low]];
  if (below === undefined || above === undefined) return below ?? above;
  return bytes - below.bytes <= above.bytes - bytes ? below : above;
}
