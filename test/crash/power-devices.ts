/**
 * File systems on loop devices whose power can be cut: xfs_io's `shutdown` ends a file system at once and throws away everything that it
 * has not synced, names included (ext4 and xfs). The images are sparse files.
 *
 * Mounted with `-o loop`, a device is given back by the kernel with its mount. Whoever mounts them in a mount namespace of its own
 * (own-namespace.ts) leaves nothing behind, however it ends.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readlinkSync } from 'node:fs';
import { mkdir, open, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';

export type FileSystem = 'ext4' | 'xfs';

export interface PowerDevice {
  readonly name: string;
  readonly type: FileSystem;
  readonly mountpoint: string;
}

type Run = (program: string, ...args: string[]) => Promise<unknown>;

export class PowerDevices {
  readonly #run: Run;
  readonly devices: readonly PowerDevice[];
  #switches: { device: PowerDevice; xfsIo: ChildProcessWithoutNullStreams }[] = [];

  /** `run` runs a program, which must end with 0. */
  constructor(run: Run, devices: readonly PowerDevice[]) {
    this.#run = run;
    this.devices = devices;
  }

  /** Makes their file systems in `images`, which may be there already. */
  async make(images: string, sizeBytes: number): Promise<void> {
    await mkdir(images, { recursive: true });
    for (const device of this.devices) {
      const image = imageOf(images, device);
      await (await open(image, 'w')).close();
      await truncate(image, sizeBytes);
      await this.#run(`mkfs.${device.type}`, '-q', device.type === 'ext4' ? '-F' : '-f', image);
    }
  }

  /** Mounts those in `images` and makes them ready to be cut. */
  async mount(images: string): Promise<void> {
    for (const device of this.devices)
      await this.#run('mount', '-t', device.type, '-o', 'loop', imageOf(images, device), device.mountpoint);
    for (const device of this.devices) {
      const xfsIo = spawn('xfs_io', ['-x', device.mountpoint], { stdio: ['pipe', 'pipe', 'pipe'] });
      this.#switches.push({ device, xfsIo });
      while (!hasOpen(xfsIo, device.mountpoint)) await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  /** Cuts them in this order, without waiting in between. Resolves with the milliseconds from the first cut to the end of the last. */
  async cut(order: readonly number[]): Promise<number> {
    const begin = performance.now();
    for (const index of order) this.#switches[index]!.xfsIo.stdin.end('shutdown\n');
    await Promise.all(this.#switches.map(({ xfsIo }) => once(xfsIo, 'close')));
    const span = performance.now() - begin;
    this.#switches = [];
    return span;
  }

  /** Nothing may have files open on them. */
  async unmount(): Promise<void> {
    for (const { xfsIo } of this.#switches) {
      xfsIo.stdin.end();
      if (xfsIo.exitCode === null) await once(xfsIo, 'close');
    }
    this.#switches = [];
    for (const { mountpoint } of this.devices) await this.#run('umount', mountpoint);
  }

  /** Copies the images of devices that are not mounted. */
  async copy(from: string, to: string): Promise<void> {
    await mkdir(to, { recursive: true });
    for (const device of this.devices)
      await this.#run('cp', '--sparse=always', imageOf(from, device), imageOf(to, device));
  }
}

function hasOpen({ pid, exitCode }: ChildProcessWithoutNullStreams, path: string): boolean {
  if (pid === undefined || exitCode !== null) throw new Error(`xfs_io could not open ${path}`);
  const descriptors = `/proc/${pid}/fd`;
  try {
    return readdirSync(descriptors).some((fd) => readlinkSync(join(descriptors, fd)) === path);
  } catch {
    // Descriptors come and go while it starts.
    return false;
  }
}

function imageOf(images: string, { name }: PowerDevice): string {
  return join(images, `${name}.image`);
}
