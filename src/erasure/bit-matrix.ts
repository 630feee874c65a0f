/**
 * Matrices over GF(2) as the erasure code uses them. A shard's block is `w` packets; a row of the matrix says which packets of
 * the k source shards are XORed into one packet of a target shard. The first k*w rows of a generator are the identity
 * (data shards are the data), the other m*w rows make the parity. Any k*w rows that belong to k whole shards can be
 * inverted: that is what makes any k shards enough.
 */
import { assert } from '../errors/cairn-error.js';

/** Row-major, one byte (0 or 1) per bit; `columns` wide. */
export interface BitMatrix {
  readonly columns: number;
  readonly bits: Uint8Array;
}

/** The identity over the parity rows: what all k+m shards are, in terms of the data. */
export function generator(parity: BitMatrix): BitMatrix {
  const { columns } = parity;
  const bits = new Uint8Array(columns * columns + parity.bits.length);
  for (let i = 0; i < columns; i++) bits[i * columns + i] = 1;
  bits.set(parity.bits, columns * columns);
  return { columns, bits };
}

/** Rows [shard*w, shard*w + w) of each shard listed, one below the other. */
export function rowsOf(matrix: BitMatrix, w: number, shards: readonly number[]): BitMatrix {
  const { columns } = matrix;
  const bits = new Uint8Array(shards.length * w * columns);
  shards.forEach((shard, i) => {
    bits.set(matrix.bits.subarray(shard * w * columns, (shard + 1) * w * columns), i * w * columns);
  });
  return { columns, bits };
}

/** Gauss-Jordan elimination of a square matrix. */
export function inverse(matrix: BitMatrix): BitMatrix {
  const n = matrix.columns;
  assert(matrix.bits.length === n * n, 'the matrix is square');
  const left = matrix.bits.slice();
  const right = new Uint8Array(n * n);
  for (let i = 0; i < n; i++) right[i * n + i] = 1;
  for (let column = 0; column < n; column++) {
    let pivot = column;
    while (pivot < n && left[pivot * n + column] === 0) pivot++;
    assert(pivot < n, 'any k shards of the code are independent');
    // Adding a row below into a row with a zero diagonal serves as the swap.
    if (pivot !== column) addRow(left, right, n, pivot, column);
    for (let row = 0; row < n; row++) {
      if (row !== column && left[row * n + column] === 1) addRow(left, right, n, column, row);
    }
  }
  return { columns: n, bits: right };
}

function addRow(left: Uint8Array, right: Uint8Array, n: number, from: number, to: number): void {
  for (let i = 0; i < n; i++) {
    left[to * n + i] = left[to * n + i]! ^ left[from * n + i]!;
    right[to * n + i] = right[to * n + i]! ^ right[from * n + i]!;
  }
}

/** a × b. */
export function product(a: BitMatrix, b: BitMatrix): BitMatrix {
  const rows = a.bits.length / a.columns;
  assert(b.bits.length === a.columns * b.columns, 'the matrices fit');
  const bits = new Uint8Array(rows * b.columns);
  for (let row = 0; row < rows; row++) {
    for (let inner = 0; inner < a.columns; inner++) {
      if (a.bits[row * a.columns + inner] === 0) continue;
      for (let i = 0; i < b.columns; i++) {
        bits[row * b.columns + i] = bits[row * b.columns + i]! ^ b.bits[inner * b.columns + i]!;
      }
    }
  }
  return { columns: b.columns, bits };
}
