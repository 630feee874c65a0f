/** The diskmap: from a hash and a map to ranked groups, and from disks to a map. Pure functions that import nothing; README.md explains them. */
export { decodeBucketId, diskOfBucket, encodeBucketId } from './bucket-id.js';
export { fitBucketBytes } from './bucket-size.js';
export { changeDisks, type DiskChange } from './change-disks.js';
export type { MapFrame } from './check-map.js';
export { decodeMap, encodeMap } from './codec.js';
export { type Comparison, compareSystems } from './comparison.js';
export { addDisks, createMap, type MapInput } from './create-map.js';
export { DiskMapError, type DiskMapErrorCode } from './disk-map-error.js';
export type { Loss } from './losses.js';
export { type BucketMove, type MapDifference, mapDifference } from './map-difference.js';
export { type Plan, plan } from './plan.js';
export { createRanking, type Ranking, rankGroups } from './ranking.js';
export { schemeSurvives } from './scheme.js';
export type * from './types.js';
