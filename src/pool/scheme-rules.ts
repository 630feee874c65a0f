/**
 * Which schemes a directory may ask for. One that the disks can keep: some group of the map is as wide as the scheme has shards. And one that survives as many
 * lost disks as the pool's weakest group: a policy may protect more, never less, because what the pool says of a lost disk, and what it promised
 * for the same bytes elsewhere (a chunk is kept once), has to stay true.
 */
import { type DiskMap, type GroupScheme, schemeSurvives } from '../../diskmap/index.js';
import type { SchemeRules } from '../vfs/policy-tree.js';
import { disksNeeded, formatScheme, parseScheme } from './scheme-choice.js';

export function schemeRules(map: () => DiskMap, onAsked: SchemeRules['onAsked']): SchemeRules {
  return {
    parse: parseScheme,
    format: formatScheme,
    survives: schemeSurvives,
    refusal: (scheme) => refusal(scheme, map()),
    onAsked,
  };
}

function refusal(scheme: GroupScheme, map: DiskMap): string | undefined {
  const name = formatScheme(scheme);
  const widest = Math.max(...map.groups.map(({ buckets }) => buckets.length));
  if (disksNeeded(scheme) > widest)
    return `${name} needs ${disksNeeded(scheme)} disks, and the pool spreads a chunk over ${widest} at most: add disks, or ask for less`;
  const least = Math.min(...map.groups.map((group) => schemeSurvives(group.scheme)));
  if (schemeSurvives(scheme) < least)
    return `${name} survives the loss of ${disks(schemeSurvives(scheme))}, and this pool promises ${disks(least)}: ask for at least as much`;
  return undefined;
}

function disks(count: number): string {
  return count === 0 ? 'no disk' : count === 1 ? 'any one disk' : `any ${count} disks`;
}
