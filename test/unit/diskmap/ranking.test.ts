import { createHash } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { addDisks, createRanking, type DiskMap, type Group, rankGroups } from '../../../diskmap/index.js';
import { disksOf, mapOf } from './maps.js';

/** Hash number `n`: as good as any chunk's. */
const hashOf = (n: number): string => createHash('sha256').update(String(n)).digest('hex');

const hex = (value: number): string => (value >>> 0).toString(16).padStart(8, '0');

/** Groups of these weights; nothing but id and weight enters the ranking. */
function groupsOf(weights: readonly number[]): Pick<DiskMap, 'groups'> {
  return {
    groups: weights.map(
      (weight, index): Group => ({
        id: (index + 1).toString(16).padStart(16, '0'),
        scheme: { kind: 'copies', copies: 1 },
        buckets: [],
        weight,
      }),
    ),
  };
}

/** The ranking as README.md defines it, in other words: big integers, and the library's logarithm. */
function referenceRanking({ groups }: Pick<DiskMap, 'groups'>, hash: string): number[] {
  const low32 = (x: bigint): bigint => BigInt.asUintN(32, x);
  const mix = (value: bigint): bigint => {
    let x = low32(value);
    x = low32((x ^ (x >> 16n)) * 0x85ebca6bn);
    x = low32((x ^ (x >> 13n)) * 0xc2b2ae35n);
    return x ^ (x >> 16n);
  };
  const hash0 = BigInt(`0x${hash.slice(0, 8)}`);
  const hash1 = BigInt(`0x${hash.slice(8, 16)}`);
  const costs = groups.map(({ id, weight }) => {
    const high = BigInt(`0x${id.slice(0, 8)}`);
    const low = BigInt(`0x${id.slice(8)}`);
    const seed0 = mix(low + high * 0x9e3779b1n);
    const seed1 = mix(high ^ seed0 ^ 0x85ebca6bn);
    const x = mix(low32(mix(hash0 ^ seed0) + hash1) ^ seed1);
    return -Math.log((Number(x) + 0.5) / 2 ** 32) / weight;
  });
  const order = groups.map((_, index) => index);
  return order.sort((a, b) => costs[a]! - costs[b]! || (groups[a]!.id < groups[b]!.id ? -1 : 1));
}

t.test('known answers: these orders are a format, they never change', async (t) => {
  const map = groupsOf([2, 2, 1, 8, 2]);
  const known: [string, number[]][] = [
    ['0000000000000000000000000000000000000000000000000000000000000000', [3, 1, 0, 4, 2]],
    ['ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff', [1, 4, 3, 0, 2]],
    ['e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', [1, 2, 4, 3, 0]],
    ['ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb', [2, 1, 0, 3, 4]],
    ['4a9909a9516d02fd4c729a45922398fb41c398c235423a5304085bc923a8db67', [3, 2, 0, 4, 1]],
    ['8144d8336863ee3c9280d0a3c67335e3e4eb2b96a0c21a5f600b4d64829615d0', [4, 3, 2, 1, 0]],
  ];
  t.same(
    known.map(([hash]) => rankGroups(map, hash)),
    known.map(([, order]) => order),
  );
});

t.test('ranks as the definition in the README does', async () => {
  const weights = fc.array(fc.constantFrom(1, 1, 2, 2, 4, 8, 0.5), { minLength: 1, maxLength: 12 });
  const hash = fc.integer().map(hashOf);
  fc.assert(
    fc.property(weights, hash, (each, chunk) => {
      const map = groupsOf(each);
      const expected = referenceRanking(map, chunk);
      return expected.join() === rankGroups(map, chunk).join() && createRanking(map).best(chunk) === expected[0];
    }),
    { numRuns: 500 },
  );
});

t.test('hundreds of groups, where costs are close to zero', async (t) => {
  const map = groupsOf(Array.from({ length: 700 }, (_, index) => 1 + (index % 3)));
  for (let n = 0; n < 20; n += 1) t.same(rankGroups(map, hashOf(n)), referenceRanking(map, hashOf(n)));
});

t.test('where the groups stand in the map does not matter', async (t) => {
  const map = groupsOf([1, 2, 2, 4, 2, 1, 1]);
  const turned = { groups: map.groups.toReversed() };
  const [one, other] = [createRanking(map), createRanking(turned)];
  for (let n = 0; n < 1000; n += 1) {
    const hash = hashOf(n);
    if (map.groups[one.best(hash)] !== turned.groups[other.best(hash)]) t.fail(hash);
  }
});

t.test('walks in hand at the same time do not disturb each other', async (t) => {
  const ranking = createRanking(groupsOf([1, 2, 2, 4, 2, 1, 1]));
  const alone = [hashOf(1), hashOf(2)].map((hash) => [...ranking.ranked(hash)]);
  const walks = [hashOf(1), hashOf(2)].map((hash) => ranking.ranked(hash));
  const met: number[][] = [[], []];
  for (let step = 0; step < 7; step += 1) {
    walks.forEach((walk, at) => {
      met[at]!.push(walk.next().value as number);
      ranking.best(hashOf(step));
    });
  }
  t.same(met, alone);
});

t.test('a million hashes fall on the groups within 2 % of their weights', async (t) => {
  const count = 1_000_000;
  // Digits as random as a real hash's (xorshift), and a plain counter, which the mixing alone has to spread.
  let state = 2_463_534_242;
  const random = (): string => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return hex(state);
  };
  const tail = '0'.repeat(48);
  const kinds: [string, number[], (n: number) => string][] = [
    ['equal', [2, 2, 2, 2, 2], () => random() + random() + tail],
    ['weighted', [2, 2, 1, 4, 1], () => random() + random() + tail],
    ['a counter', [2, 2, 1, 4, 1], (n) => `00000000${hex(n)}${tail}`],
  ];
  for (const [name, weights, hash] of kinds) {
    const ranking = createRanking(groupsOf(weights));
    const met = new Array<number>(weights.length).fill(0);
    for (let n = 0; n < count; n += 1) met[ranking.best(hash(n))]! += 1;
    const sum = weights.reduce((a, b) => a + b, 0);
    weights.forEach((weight, index) => {
      const off = met[index]! / ((count * weight) / sum) - 1;
      t.ok(Math.abs(off) < 0.02, `${name}: group ${index} of weight ${weight} is off by ${(off * 100).toFixed(2)} %`);
    });
  }
});

t.test('who ranks second is as even, whoever ranks first', async (t) => {
  const ranking = createRanking(groupsOf([1, 1, 1, 1, 1, 1]));
  const met = Array.from({ length: 6 }, () => new Array<number>(6).fill(0));
  const count = 60_000;
  for (let n = 0; n < count; n += 1) {
    const [first, second] = ranking.ranked(`${hex(n)}${'0'.repeat(56)}`);
    met[first!]![second!]! += 1;
  }
  const expected = count / 30;
  let chi = 0;
  for (let first = 0; first < 6; first += 1) {
    for (let second = 0; second < 6; second += 1) {
      if (first !== second) chi += (met[first]![second]! - expected) ** 2 / expected;
    }
  }
  // 29 degrees of freedom: one even source in a thousand lies beyond 58.3.
  t.ok(chi < 58.3, `chi squared ${chi.toFixed(1)}`);
});

t.test('adding groups changes the best only to new ones, and keeps the order of the old', async (t) => {
  const three = mapOf([10, 10, 10]);
  const four = addDisks(three, disksOf([10], 4));
  const [before, after] = [createRanking(three), createRanking(four)];
  let toNew = 0;
  for (let n = 0; n < 5000; n += 1) {
    const hash = hashOf(n);
    const old = three.groups[before.best(hash)]!.id;
    const best = after.best(hash);
    if (best >= 10) toNew += 1;
    else if (four.groups[best]!.id !== old) t.fail(`${hash} went from an old group to another old one`);
  }
  const share = toNew / 5000;
  t.ok(Math.abs(share - 3 / 13) < 0.03, `the new groups draw their share: ${share}`);
  for (let n = 0; n < 200; n += 1) {
    const kept = [...after.ranked(hashOf(n))].filter((index) => index < 10);
    t.same(kept, [...before.ranked(hashOf(n))]);
  }
});

t.test('every group is met once', async (t) => {
  for (const count of [0, 1, 3, 4, 5, 40]) {
    const met = rankGroups(groupsOf(new Array<number>(count).fill(1)), hashOf(count));
    t.same(
      met.toSorted((a, b) => a - b),
      Array.from({ length: count }, (_, index) => index),
    );
  }
  t.equal(createRanking(groupsOf([])).best(hashOf(1)), -1);
});

t.test('what is no hash, and what is no weight, is refused', async (t) => {
  const ranking = createRanking(groupsOf([1, 1]));
  const good = hashOf(1);
  for (const bad of ['', good.slice(1), `${good}0`, `G${good.slice(1)}`, `A${good.slice(1)}`, ` ${good.slice(1)}`]) {
    t.throws(() => ranking.best(bad), { code: 'INVALID' }, JSON.stringify(bad));
    t.throws(() => ranking.ranked(bad).next(), { code: 'INVALID' });
  }
  for (const bad of [0, -1, Number.NaN, Number.POSITIVE_INFINITY]) {
    t.throws(() => createRanking(groupsOf([1, bad])), { code: 'INVALID', message: /weight/ });
  }
});
