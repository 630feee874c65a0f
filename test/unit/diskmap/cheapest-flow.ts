/**
 * The fewest moves by a second method: a minimum-cost flow. Every present group sends its width to different domains, one unit each, free of charge where it has a
 * bucket and for 1 where it has none; all new groups together send their buckets, at most one per group and domain. What the cheapest such flow costs is the
 * least number of buckets that must move.
 */
interface Edge {
  readonly to: number;
  readonly cost: number;
  room: number;
}

/** `present`: the domains of each present group; `fresh`: widths of the new groups; `capacity`: buckets of each domain. Undefined if they do not fit. */
export function cheapestFlow(
  present: readonly (readonly number[])[],
  fresh: readonly number[],
  capacity: readonly number[],
): number | undefined {
  const [source, sink, together, groups] = [0, 1, 2, 3];
  const domains = groups + present.length;
  const edges: Edge[] = [];
  const out: number[][] = Array.from({ length: domains + capacity.length }, () => []);
  const connect = (from: number, to: number, room: number, cost: number): void => {
    out[from]!.push(edges.push({ to, room, cost }) - 1);
    out[to]!.push(edges.push({ to: from, room: 0, cost: -cost }) - 1);
  };
  let wanted = fresh.reduce((sum, width) => sum + width, 0);
  connect(source, together, wanted, 0);
  present.forEach((own, group) => {
    wanted += own.length;
    connect(source, groups + group, own.length, 0);
    for (let domain = 0; domain < capacity.length; domain += 1) {
      connect(groups + group, domains + domain, 1, own.includes(domain) ? 0 : 1);
    }
  });
  capacity.forEach((buckets, domain) => {
    connect(together, domains + domain, fresh.length, 0);
    connect(domains + domain, sink, buckets, 0);
  });

  let total = 0;
  for (; wanted > 0; wanted -= 1) {
    const cost = out.map(() => Number.POSITIVE_INFINITY);
    const by: number[] = [];
    cost[source] = 0;
    for (let changed = true; changed; ) {
      changed = false;
      out.forEach((list, from) => {
        for (const edge of list) {
          const { to, room, cost: more } = edges[edge]!;
          if (room === 0 || cost[from]! + more >= cost[to]!) continue;
          cost[to] = cost[from]! + more;
          by[to] = edge;
          changed = true;
        }
      });
    }
    if (cost[sink] === Number.POSITIVE_INFINITY) return undefined;
    total += cost[sink]!;
    for (let at = sink; at !== source; at = edges[by[at]! ^ 1]!.to) {
      edges[by[at]!]!.room -= 1;
      edges[by[at]! ^ 1]!.room += 1;
    }
  }
  return total;
}
