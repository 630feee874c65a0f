import { randomFillSync } from 'node:crypto';

/** Randomness, as an interface so that the simulator can seed it. */
export interface Random {
  bytes(count: number): Buffer;
}

export class SystemRandom implements Random {
  bytes(count: number): Buffer {
    return randomFillSync(Buffer.allocUnsafe(count));
  }
}
