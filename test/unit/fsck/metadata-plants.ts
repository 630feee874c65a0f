/** Damage in the metadata store, of every kind that a check tells apart. */
import { inodeOf, type Plant, sql } from './planted-pool.js';

export const METADATA: readonly Plant[] = [
  {
    what: 'a link count',
    plant: async (pool) => sql(pool, `UPDATE inode SET nlink = 7 WHERE ino = ${await inodeOf(pool, '/small.txt')}`),
    codes: ['link-count'],
    files: ['/small.txt'],
  },
  {
    what: 'a link count of a directory',
    plant: async (pool) => sql(pool, `UPDATE inode SET nlink = 2 WHERE ino = ${await inodeOf(pool, '/photos')}`),
    codes: ['link-count'],
    files: ['/photos'],
  },
  {
    what: 'a name without an inode',
    plant: (pool) =>
      sql(pool, "INSERT INTO dentry VALUES (1, 'ghost', 999, 1)", 'UPDATE position SET dentries = dentries + 1'),
    codes: ['dentry-dangling'],
    files: ['/ghost'],
  },
  {
    what: 'an inode without a name',
    plant: (pool) =>
      sql(pool, "DELETE FROM dentry WHERE sort_key = 'medium'", 'UPDATE position SET dentries = dentries - 1'),
    codes: ['inode-unreachable'],
  },
  {
    what: 'a name in something that is no directory',
    plant: async (pool) =>
      sql(pool, `UPDATE dentry SET parent = ${await inodeOf(pool, '/small.txt')} WHERE sort_key = 'medium'`),
    codes: ['parent-missing'],
    files: ['/small.txt'],
  },
  {
    what: 'directories in a circle',
    plant: async (pool) =>
      sql(
        pool,
        `UPDATE dentry SET parent = ${await inodeOf(pool, '/photos/2026')} WHERE sort_key = 'photos/'`,
        'UPDATE inode SET nlink = nlink - 1 WHERE ino = 1',
        `UPDATE inode SET nlink = nlink + 1 WHERE ino = ${await inodeOf(pool, '/photos/2026')}`,
      ),
    codes: ['directory-cycle'],
  },
  {
    what: 'a name that says directory of a file',
    plant: async (pool) =>
      sql(
        pool,
        "UPDATE dentry SET sort_key = 'medium/' WHERE sort_key = 'medium'",
        `UPDATE inode SET nlink = nlink + 1 WHERE ino = ${await inodeOf(pool, '/photos')}`,
      ),
    codes: ['dentry-kind'],
    files: ['/photos/medium'],
  },
  {
    what: 'overlapping extents',
    plant: async (pool) =>
      sql(
        pool,
        `UPDATE extent SET file_offset = file_offset - 4096 WHERE file_offset > 0 AND ino = ${await inodeOf(pool, '/photos/2026/large')}`,
      ),
    codes: ['extent-overlap'],
    files: ['/photos/2026/large'],
  },
  {
    what: 'an extent beyond the end of its file',
    plant: async (pool) =>
      sql(pool, `UPDATE inode SET size_bytes = 100 WHERE ino = ${await inodeOf(pool, '/photos/medium')}`),
    codes: ['extent-range'],
    files: ['/photos/medium'],
  },
  {
    what: 'an extent beyond the end of its chunk',
    plant: async (pool) =>
      sql(pool, `UPDATE extent SET chunk_offset = 64 WHERE ino = ${await inodeOf(pool, '/photos/medium')}`),
    codes: ['extent-range'],
    files: ['/photos/medium'],
  },
  {
    what: 'too many references',
    plant: (pool) => sql(pool, 'UPDATE chunk SET refs = refs + 1 WHERE chunk = (SELECT chunk FROM chunk LIMIT 1)'),
    codes: ['reference-count'],
  },
  {
    what: 'no references where there are some',
    plant: (pool) => sql(pool, 'UPDATE chunk SET refs = 0 WHERE chunk = (SELECT chunk FROM chunk LIMIT 1)'),
    codes: ['reference-count'],
  },
  {
    what: 'a chunk without a row',
    plant: (pool) =>
      sql(
        pool,
        'DELETE FROM chunk WHERE chunk = (SELECT chunk FROM chunk LIMIT 1)',
        'UPDATE position SET chunks = chunks - 1',
      ),
    codes: ['reference-count'],
  },
  {
    what: 'attributes of no inode',
    plant: (pool) => sql(pool, "INSERT INTO xattr VALUES (999, 'user.a', x'00')"),
    codes: ['rows-without-inode'],
  },
  {
    what: 'a next inode number that is taken',
    plant: (pool) => sql(pool, 'UPDATE position SET next_ino = 3'),
    codes: ['next-inode'],
  },
  {
    what: 'row counts',
    plant: (pool) => sql(pool, 'UPDATE position SET inodes = inodes + 5'),
    codes: ['metadata-counts'],
  },
];
