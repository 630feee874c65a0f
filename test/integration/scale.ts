/**
 * How much the tests over real mounts do. Without CAIRN_TEST_SCALE what CI has time for; `CAIRN_TEST_SCALE=full` is what issue 2 asks to be
 * seen: a tree of at least 20,000 files, a file of 2 GiB, 1,000 transactions. That takes a `tap --timeout=3600`.
 */
const MIB = 1024 * 1024;

export const SCALE =
  process.env['CAIRN_TEST_SCALE'] === 'full'
    ? {
        treeFiles: 22_000,
        largeFileBytes: 2048 * MIB,
        transactions: 1000,
        killCycles: 10,
        powerCuts: 100,
        loadedKills: 200,
        fsxOperations: 1_000_000,
        patience: 10,
      }
    : {
        treeFiles: 700,
        largeFileBytes: 32 * MIB,
        transactions: 300,
        killCycles: 2,
        powerCuts: 10,
        loadedKills: 3,
        fsxOperations: 5000,
        patience: 1,
      };
