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
