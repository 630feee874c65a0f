import { createHash } from 'node:crypto';
import { createRequire } from 'node:module';
import t from 'tap';
import { codecFor } from '../../../src/erasure/codec-for.js';
import { ErasureCodec } from '../../../src/erasure/erasure-codec.js';
import { codecConformance, type KnownAnswer, pattern } from '../../conformance/codec.js';

const ANSWERS: Record<string, KnownAnswer[]> = {
  '2+1': [
    { chunkBytes: 100, sha256: 'd23931c38122e988a6c84a49892b026899c68fe0703f1c8ba65270e9f6e50a2d' },
    { chunkBytes: 65_537, sha256: 'f155033416d411edcd22f6e6d68e1e145a7024bf6acdf678e918fd7eb0171fda' },
    { chunkBytes: 1_000_003, sha256: '9e9ccc7d13608f4501d933dea7b13fd4e52dabbb54319bb8cb19525fb0af3414' },
    { chunkBytes: 4_194_304, sha256: '28471013dce386e7d9f744358c1d2c5addb1ea7e90ad66d4c10e5e9faef0b5b9' },
  ],
  '4+2': [
    { chunkBytes: 100, sha256: '1330506a31430fc205861c3f1fe43a77d71545e5fe8bd3bed4c7839789fbc16d' },
    { chunkBytes: 65_537, sha256: '239bb7684b33075ed7a532245c620781aa18d372af533a9659b2a62b3c3df354' },
    { chunkBytes: 1_000_003, sha256: 'c92c8ed8db9452819e130ee3e63eb47b3bec1776f245027c9229dc7ede7b7eaf' },
    { chunkBytes: 4_194_304, sha256: '3f3ef8e94782dc7ba9bc354f7d0a0f96255484a33b2b7b039315fe163dac1172' },
  ],
  '8+3': [
    { chunkBytes: 100, sha256: '1c9983e7f82e31ccd64275b1c7dfca9c5da0e73c3a6acc032d81402c71900385' },
    { chunkBytes: 65_537, sha256: '47b306b87758950d0b239c8461ff7eb5a0e2c18a35dfd9a84eed9d9b24fd85ac' },
    { chunkBytes: 1_000_003, sha256: '7203a445644c33d31313793f7e308a4903bf8831057d7ae3e1e1e9237bf06295' },
    { chunkBytes: 4_194_304, sha256: '24f2cd8ac0a9bac5e2e24b12e54cbebd808ad5101584cdca4fb8d5b8bf5d7998' },
  ],
  '3+1': [
    { chunkBytes: 100, sha256: 'e16da9147eb53e3357701bfaf97944f97b2178bd7ff7cb4f3b9ac75e8e330878' },
    { chunkBytes: 65_537, sha256: '350b33eb9669946829834dde50359803f7c5236c6144f086e6f4e1496de8cbc6' },
    { chunkBytes: 1_000_003, sha256: 'ac9d9129422a136dda25e7670257f3e0b3f6887ec6bfcf6fbab848441f6c183d' },
    { chunkBytes: 4_194_304, sha256: 'f56db8fcdb9027949efe313a6c984eff54c52da43e3c6279b98826d5be17a62e' },
  ],
  '7+1': [
    { chunkBytes: 100, sha256: 'ea51baeaeb4e6af2c54f89d9b4df327ad53fa6a20ce848b7907165f79f6175f5' },
    { chunkBytes: 65_537, sha256: '74f77dd06de04000d81ac9e53d3823d15d9519bdf6f2ce18650a1c3d2ccff64f' },
    { chunkBytes: 1_000_003, sha256: 'cf02ba38948cd858fc35b0606acad50b53ca55b91fbfb0153473accc128178d9' },
    { chunkBytes: 4_194_304, sha256: '56234c8bc848d5142a129e70799c35d3a3654e8620a879ac32d70a615961c378' },
  ],
  '19+1': [
    { chunkBytes: 100, sha256: '6cdff85c0a264c649fb40e3e9e574812a6bd3b9d99e3ef807824d7a22e9cbcb2' },
    { chunkBytes: 65_537, sha256: 'bdb8f5781ef26f45daf76c2ef07e6a4d7cf3b23e1c7c14a7b76c0b18a4276d25' },
    { chunkBytes: 1_000_003, sha256: '64dcbc72458ac1f85e50e03cedba939856a4074dfaca93dc06f2b9d28e9d0782' },
    { chunkBytes: 4_194_304, sha256: '974ee41ee896428544f767c4757fecdc3f7b33a20c5deab45d44f7c3f1e0ed8b' },
  ],
  '10+2': [
    { chunkBytes: 100, sha256: 'df84146559d0498145c3d7e95f847684aab14ad309b0fa32561675df4477b882' },
    { chunkBytes: 65_537, sha256: '4bc672e63da9a3ecfe06f1cc11f3af5add96c0eeb3f38f69fd383fd40730a8b7' },
    { chunkBytes: 1_000_003, sha256: '82d9e07d40cbdddc1b8f6e19b65e53df00f00211d112d7df0d43281f919ea53d' },
    { chunkBytes: 4_194_304, sha256: 'dd6551f2ff77ead0276b4d0f9145dea99d394362a81d5523168d1bb10114280a' },
  ],
  '24+2': [
    { chunkBytes: 100, sha256: 'aa093b5381dd6a697bcddc2cb00a52b8569b667d0e75b70684589e96d65cec39' },
    { chunkBytes: 65_537, sha256: '9c1b39fd1f7b6c292f75e660937d8534749da5f26245efec9f8bdd66b1d11f65' },
    { chunkBytes: 1_000_003, sha256: '606b045c5f20e02c669d7635b1340b58a39b06e58910f3e27e3e1b75676ec114' },
    { chunkBytes: 4_194_304, sha256: '81e37b1b60b877c737aaa13238e380c1d77d2f9432018c485a9f8e67c294957b' },
  ],
};

for (const [k, m] of [
  [2, 1],
  [4, 2],
  [8, 3],
  [1, 2],
  [3, 1],
] as const) {
  codecConformance(t, new ErasureCodec(k, m), ANSWERS[`${k}+${m}`] ?? []);
}

t.test('parity bytes of a short chunk, in full', async (t) => {
  const chunk = pattern(100);
  t.same(
    new ErasureCodec(2, 1).encode(chunk).map((shard) => Buffer.from(shard).toString('hex')),
    [
      '009e3cda7817b553f18f2ecc6a08a745e3811fbe5cfa9836d57311af4eec8a28c66503a13fde7c1ab856f59331cf6d0caa48e68523c15ffd9c3ad87615b351ef',
      '8d2cca6806a443e17f1dbc5af89634d3710fad4bea8826c463019f3ddb7a18b654f3912f00000000000000000000000000000000000000000000000000000000',
      '8db2f6b27eb3f6b28e929296929e9396928eb2f5b672bef2b6728e929596929e9296928e3fde7c1ab856f59331cf6d0caa48e68523c15ffd9c3ad87615b351ef',
    ],
  );
  t.same(
    new ErasureCodec(4, 2).encode(chunk).map((shard) => Buffer.from(shard).toString('hex')),
    [
      '009e3cda7817b553f18f2ecc6a08a745e3811fbe5cfa9836d57311af4eec8a28c66503a13fde7c1ab856f59331cf6d0caa48e68523c15ffd9c3ad87615b351ef',
      '8d2cca6806a443e17f1dbc5af89634d3710fad4bea8826c463019f3ddb7a18b654f3912f00000000000000000000000000000000000000000000000000000000',
      '00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000',
      '00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000',
      '8db2f6b27eb3f6b28e929296929e9396928eb2f5b672bef2b6728e929596929e9296928e3fde7c1ab856f59331cf6d0caa48e68523c15ffd9c3ad87615b351ef',
      '009e3cda7817b553f18f2ecc6a08a7456eadd5d65a5edbd7aa6eadf5b67abefbb76aaeead5565adedb576aaeeab575bafebb77aa23c15ffd9c3ad87615b351ef',
    ],
  );
});

/** The bit matrix of a Cauchy matrix's rows over GF(2^w), as docs/format.md describes it. */
function bitMatrix(rows: readonly (readonly number[])[], w: number): number[] {
  const polynomial = { 2: 0b111, 4: 0b1_0011, 8: 0b1_1000_0111 }[w]!;
  const timesX = (element: number): number =>
    ((element << 1) ^ (element >> (w - 1) === 1 ? polynomial : 0)) & (2 ** w - 1);
  return rows.flatMap((row) =>
    Array.from({ length: w }, (_, bit) =>
      row.flatMap((element) => {
        let power = element;
        return Array.from({ length: w }, () => {
          const set = (power >> bit) & 1;
          power = timesX(power);
          return set;
        });
      }),
    ).flat(),
  );
}

t.test('the matrices are those that docs/format.md names', async (t) => {
  const library = createRequire(import.meta.url)('@ronomon/reed-solomon');
  const second = {
    2: [1, 2],
    4: [1, 2, 9, 4, 8, 13, 3, 6, 12, 5, 11, 15, 10, 14],
    8: [1, 2, 195, 4, 162, 81, 8, 3, 194, 6, 97, 5, 10, 12, 20, 40, 80, 163, 16, 24, 146, 193, 235, 48],
  } as const;
  const check = (k: number, w: number, rows: readonly (readonly number[])[]): void => {
    const context: Buffer = library.create(k, rows.length);
    t.equal(context[0], w, `w of ${k}+${rows.length}`);
    t.ok(context.subarray(3).equals(Buffer.from(bitMatrix(rows, w))), `${k}+${rows.length}`);
  };
  const width = (shards: number) => (shards <= 4 ? 2 : shards <= 16 ? 4 : 8);
  for (let k = 2; k <= 24; k += 1) {
    const ones = new Array<number>(k).fill(1);
    check(k, width(k + 1), [ones]);
    check(k, width(k + 2), [ones, second[width(k + 2)].slice(0, k)]);
  }
  check(8, 4, [new Array<number>(8).fill(1), [2, 5, 1, 12, 9, 6, 13, 4], [11, 13, 1, 4, 2, 9, 12, 6]]);
});

t.test('with one parity shard it is the XOR of the data shards, whatever k', async (t) => {
  for (let k = 2; k <= 24; k += 1) {
    const shards = new ErasureCodec(k, 1).encode(pattern(3000));
    const xor = Buffer.alloc(shards[0]!.length);
    for (const shard of shards.slice(0, k)) for (let at = 0; at < xor.length; at += 1) xor[at] = xor[at]! ^ shard[at]!;
    t.ok(xor.equals(shards[k]!), `${k}+1`);
  }
});

// The whole suite would take minutes: a code of 24+2 has 351 ways to miss shards, and each has a matrix of 192 rows to invert.
for (const [k, m] of [
  [7, 1],
  [19, 1],
  [10, 2],
  [24, 2],
] as const) {
  t.test(`wide code ${k}+${m}: known answers, and every shard from the others`, async (t) => {
    const codec = new ErasureCodec(k, m);
    for (const { chunkBytes, sha256 } of ANSWERS[`${k}+${m}`]!) {
      const all = createHash('sha256');
      for (const shard of codec.encode(pattern(chunkBytes))) all.update(shard);
      t.equal(all.digest('hex'), sha256, `${chunkBytes} bytes`);
    }
    const chunk = pattern(10_001);
    const shards = codec.encode(chunk);
    for (let lost = 0; lost < k + m; lost += 1) {
      const also = m === 2 ? (lost + 7) % (k + m) : lost;
      const left = shards.map((shard, at) => (at === lost || at === also ? undefined : shard));
      t.ok(chunk.equals(codec.decode(left, chunk.length)), `without ${lost} and ${also}`);
      t.ok(Buffer.from(codec.rebuild(left, lost)).equals(shards[lost]!), `shard ${lost}`);
    }
  });
}

t.test('one block is what the library itself makes of it', async (t) => {
  const library = createRequire(import.meta.url)('@ronomon/reed-solomon');
  for (const [k, m] of [
    [2, 1],
    [4, 2],
    [8, 3],
    [12, 6],
    [16, 2],
  ] as const) {
    // Small enough that the library codes the shard as one block.
    const shardBytes = 1024;
    const chunk = pattern(k * shardBytes);
    const parity = Buffer.alloc(m * shardBytes);
    await new Promise<void>((resolve, reject) => {
      const sources = 2 ** k - 1;
      const targets = 2 ** (k + m) - 2 ** k;
      library.encode(
        library.create(k, m),
        sources,
        targets,
        chunk,
        0,
        chunk.length,
        parity,
        0,
        parity.length,
        (error: Error | undefined) => (error ? reject(error) : resolve()),
      );
    });
    t.ok(Buffer.concat(new ErasureCodec(k, m).encode(chunk).slice(k)).equals(parity), `${k}+${m}`);
  }
});

t.test('blocks are independent: a chunk of n whole blocks per shard is n chunks of one block', async (t) => {
  const codec = new ErasureCodec(4, 2);
  const block = codec.blockBytes;
  const chunk = pattern(3 * 4 * block);
  const whole = codec.encode(chunk);
  for (let n = 0; n < 3; n++) {
    const slices = whole.map((shard) => shard.subarray(n * block, (n + 1) * block));
    const alone = codec.encode(Buffer.concat(slices.slice(0, 4)));
    t.same(
      slices.map((slice, i) => Buffer.compare(slice, alone[i]!)),
      [0, 0, 0, 0, 0, 0],
    );
  }
});

t.test('schemes that the library has no code for are refused', async (t) => {
  for (const [k, m] of [
    [0, 1],
    [25, 1],
    [2, 0],
    [2, 7],
    [2.5, 1],
  ] as const) {
    t.throws(() => new ErasureCodec(k, m), { code: 'CONFIG' });
  }
});

t.test('codecFor builds a codec once', async (t) => {
  const codec = codecFor({ kind: 'erasure', k: 2, m: 1 });
  t.equal(codecFor({ kind: 'erasure', k: 2, m: 1 }), codec);
  t.not(codecFor({ kind: 'erasure', k: 2, m: 2 }), codec);
  t.equal(codecFor({ kind: 'copies', copies: 2 }).needed, 1);
});
