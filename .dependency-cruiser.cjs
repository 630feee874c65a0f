// One rule per arrow of the picture in ARCHITECTURE.md: what a folder may import. Everything else is an error.
const may = {
  '^diskmap/': ['^diskmap/'],
  '^native/': ['^native/', '^node_modules/|^(node:)?[a-z_/]+$'],
  '^src/errors/': ['^src/errors/'],
  '^src/io/': ['^src/io/', '^src/errors/', '^native/'],
  '^src/erasure/': ['^src/erasure/', '^src/errors/'],
  '^src/disks/': ['^src/disks/', '^src/io/', '^src/errors/', '^native/', '^diskmap/'],
  '^src/chunks/': ['^src/chunks/', '^src/erasure/', '^src/disks/', '^src/io/', '^src/errors/', '^native/', '^diskmap/'],
  '^src/meta/': ['^src/meta/', '^src/io/', '^src/errors/'],
  '^src/cache/': ['^src/cache/', '^src/meta/', '^src/disks/', '^src/io/', '^src/errors/', '^native/'],
  '^src/commit/': [
    '^src/commit/',
    '^src/cache/',
    '^src/meta/',
    '^src/chunks/',
    '^src/disks/',
    '^src/io/',
    '^src/errors/',
    '^diskmap/',
  ],
  // What it reads disks with: the codecs, and no code that opens, indexes or runs a pool. The metadata store is where it puts the rows.
  '^src/rescue/': [
    '^src/rescue/',
    '^src/disks/(record|record-codec|disk-identity|disk)\\.ts$',
    '^src/chunks/(compressed-chunk|content-hash|shard-scheme)\\.ts$',
    '^src/meta/(rows|row-codec|snapshot-position|meta-store|sqlite-meta-store|sqlite-schema)\\.ts$',
    '^src/erasure/',
    '^src/io/system-error\\.ts$',
    '^src/errors/',
    '^native/',
    '^diskmap/(codec|types)\\.ts$',
  ],
  '^src/jobs/': ['^src/jobs/', '^src/io/', '^src/errors/'],
  '^src/vfs/': [
    '^src/vfs/',
    '^src/cache/',
    '^src/commit/',
    '^src/meta/',
    '^src/chunks/',
    '^src/jobs/',
    '^src/io/',
    '^src/errors/',
  ],
  '^src/forecast/': ['^src/forecast/', '^src/(vfs|cache|meta|chunks|io|errors)/'],
  '^src/fsck/': [
    '^src/fsck/',
    '^src/(vfs|commit|cache|meta|chunks|erasure|disks|jobs|io|errors)/',
    '^diskmap/',
    '^native/',
  ],
  '^src/repair/': ['^src/repair/', '^src/(fsck|vfs|commit|meta|chunks|disks|jobs|io|errors)/', '^native/'],
  '^src/rebalance/': ['^src/rebalance/', '^src/(chunks|disks|jobs|errors)/'],
  '^src/fuse/': ['^src/fuse/', '^src/vfs/', '^src/io/', '^src/errors/', '^native/'],
  '^src/s3/': ['^src/s3/', '^src/vfs/', '^src/meta/rows\\.ts$', '^src/io/', '^src/errors/', '^native/'],
  '^src/monitor/': ['^src/monitor/', '^src/vfs/(reports|activity)\\.ts$', '^src/io/', '^src/errors/'],
  '^src/http/': ['^src/http/', '^src/monitor/', '^src/vfs/', '^src/io/', '^src/errors/'],
  // Types of reports and one figure formatter: it runs in a browser.
  '^src/page/': ['^src/page/', '^src/(vfs|monitor)/reports\\.ts$', '^src/errors/byte-figures\\.ts$'],
  '^src/pool/': [
    '^src/pool/',
    '^src/(fsck|forecast|repair|rebalance|vfs|cache|commit|meta|chunks|erasure|disks|jobs|io|errors)/',
    // What the library writes keeps its versions as what a mount writes does.
    '^src/s3/(versioned-vfs|mount-history)\\.ts$',
    '^diskmap/',
    '^native/',
  ],
  '^src/cli/': ['^src/', '^diskmap/', '^native/'],
};
/** The one folder that imports each heavy dependency. */
const only = {
  'better-sqlite3': '^src/(meta|disks)/',
  '@ronomon/reed-solomon': '^src/erasure/',
  '@napi-rs/blake-hash': '^src/chunks/',
  '@cloudpss/zstd': '^src/chunks/',
  commander: '^src/cli/',
  'smol-toml': '^src/pool/',
  'fast-xml-parser': '^src/s3/',
};
module.exports = {
  forbidden: [
    ...Object.entries(may).map(([from, to]) => ({
      name: `arrow ${from}`,
      comment: 'arrows only point down: see the picture in ARCHITECTURE.md',
      severity: 'error',
      from: { path: from },
      to: { path: '^(src|native|diskmap|test|bench|examples)/', pathNot: to },
    })),
    ...Object.entries(only).map(([name, folder]) => ({
      name: `only ${folder} imports ${name}`,
      severity: 'error',
      from: { path: '^(src|native|diskmap)/', pathNot: folder },
      to: { path: `^node_modules/${name}/` },
    })),
    { name: 'diskmap imports nothing', severity: 'error', from: { path: '^diskmap/' }, to: { pathNot: '^diskmap/' } },
    {
      name: 'no cycles',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node', 'default'] },
  },
};
