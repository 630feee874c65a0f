/**
 * Making a map and growing it. Both are one procedure, as a new map is an empty one to which disks are added:
 *
 *  1. `auto` only: groups that have a single copy (the pool had one disk) get a second one on another disk;
 *  2. count how many groups of which width hold most, move the few buckets that must move, form the groups.
 *
 * A group keeps its id, its scheme (but for step 1) and its weight for life, so no chunk that lies in it ranks elsewhere because of a change;
 * only chunks whose best group is a new one have a better place to go to.
 */
import { checkDisks, checkFrame, checkMap, MAX_VERSION, type MapFrame } from './check-map.js';
import { DiskMapError } from './disk-map-error.js';
import { countDomains } from './failure-domain.js';
import { formGroups } from './form-groups.js';
import { groupShape } from './group-shape.js';
import { Layout } from './layout.js';
import { schemeLabel } from './scheme.js';
import type { DiskMap, MapDisk } from './types.js';

export interface MapInput extends MapFrame {
  readonly disks: readonly MapDisk[];
}

/**
 * Version 1 of a pool's map. The same input gives the same map, in whatever order the disks come. Throws DiskMapError: INVALID for input that breaks
 * a rule of `types.ts`, TOO_FEW_DISKS if not a single group can be formed.
 */
export function createMap({ pool, bucketBytes, domain, scheme, disks }: MapInput): DiskMap {
  const frame = { pool, bucketBytes, domain, scheme };
  checkFrame(frame);
  return withDisks({ format: 1, version: 0, ...frame, disks: [], groups: [] }, disks);
}

/**
 * The next version of `map`, with more disks. Present groups keep their ids and their shards' order; `mapDifference` tells which of
 * their buckets moved. Throws DiskMapError as `createMap` does, and INVALID if a disk's number is in the map already.
 */
export function addDisks(map: DiskMap, disks: readonly MapDisk[]): DiskMap {
  checkChangeable(map);
  return withDisks(map, disks);
}

/** Throws DiskMapError INVALID if no version can follow this map. */
export function checkChangeable(map: DiskMap): void {
  checkMap(map);
  if (map.version === MAX_VERSION) throw new DiskMapError('INVALID', 'disk map: no version is left to give');
}

function withDisks(map: DiskMap, added: readonly MapDisk[]): DiskMap {
  checkDisks([...map.disks, ...added]);
  return completed(map, new Layout(map, added));
}

/** Forms of the layout's free buckets what holds most beside its groups, and closes it. TOO_FEW_DISKS as `createMap`. */
export function completed(map: DiskMap, layout: Layout): DiskMap {
  const offered = layout.domains.map((domain) => domain.total);
  const present = layout.groups.map(({ scheme }) => scheme);
  const shape = groupShape(map.scheme, offered, present);
  requireDomains(map, layout, shape.least);
  if (map.scheme === 'auto') addSecondCopies(layout);
  formGroups(layout, shape);
  return layout.close();
}

function requireDomains({ domain, scheme }: DiskMap, layout: Layout, needed: number): void {
  const offering = layout.domains.filter(({ total }) => total > 0);
  if (offering.length < needed) {
    const chosen = scheme === 'auto' ? 'one copy' : schemeLabel(scheme);
    throw new DiskMapError(
      'TOO_FEW_DISKS',
      `${chosen} needs ${countDomains(needed, domain)} with room for a bucket; there ${offering.length === 1 ? 'is' : 'are'} ${offering.length}`,
    );
  }
  const disks = offering.flatMap((owner) => owner.disks.filter(({ disk }) => disk.buckets > 0));
  if (scheme === 'auto' && offering.length === 1 && disks.length > 1) {
    // One copy would be all that these machines allow, and would leave the disks unprotected as well: surely not what was meant.
    throw new DiskMapError(
      'TOO_FEW_DISKS',
      `surviving the loss of a ${domain} needs 2 ${domain}s; all ${disks.length} disks are in the same one (failure domain "disk" protects against the loss of a disk)`,
    );
  }
}

/** Single copies become pairs while another domain has a free bucket; where none has, the plan warns. */
function addSecondCopies(layout: Layout): void {
  for (const group of layout.groups) {
    if (group.members.length > 1) continue;
    const own = group.members[0]!.domain;
    let best = -1;
    layout.domains.forEach(({ free }, domain) => {
      if (domain !== own && free > 0 && (best < 0 || free > layout.domains[best]!.free)) best = domain;
    });
    if (best < 0) return;
    group.scheme = { kind: 'copies', copies: 2 };
    group.members.push(layout.take(best));
  }
}
