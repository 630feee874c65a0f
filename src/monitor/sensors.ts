/**
 * Temperature and SMART of the pool's devices, by `smartctl` (smartmontools 7 or later) where it is on the PATH and may ask. A disk that sleeps is not woken
 * (`--nocheck=standby`): what it said last stands. Nothing is installed or needed: without it the answer says why.
 */
import { execFile } from 'node:child_process';
import * as v from 'valibot';
import { systemCode } from '../errors/cairn-error.js';
import type { DiskReport } from '../vfs/reports.js';
import type { DiskSensor } from './reports.js';

const ASK_MS = 20_000;
const ANSWER_BYTES_MAX = 1024 * 1024;
/** ATA attributes by number: reallocated sectors, sectors that wait to be. */
const REALLOCATED = 5;
const PENDING = 197;
/** smartctl's exit status: bits that mean that it could not ask. The next one says that a part was not answered, the others are findings. */
const COULD_NOT_ASK = 0b11;

const number = v.optional(v.number());
const Answer = v.looseObject({
  model_name: v.optional(v.string()),
  /** What SCSI disks are called since smartctl 7.4. */
  scsi_model_name: v.optional(v.string()),
  serial_number: v.optional(v.string()),
  smart_status: v.optional(v.looseObject({ passed: v.optional(v.boolean()) })),
  temperature: v.optional(v.looseObject({ current: number })),
  power_on_time: v.optional(v.looseObject({ hours: number })),
  ata_smart_attributes: v.optional(
    v.looseObject({ table: v.array(v.looseObject({ id: v.number(), raw: v.looseObject({ value: v.number() }) })) }),
  ),
  scsi_grown_defect_list: number,
  power_mode: v.optional(v.unknown()),
  smartctl: v.optional(v.looseObject({ messages: v.optional(v.array(v.looseObject({ string: v.string() }))) })),
});

/** Runs smartctl with these arguments; resolves with its exit code and output also where it complains. `code` is ENOENT where there is none. */
export type RunSmartctl = (
  args: readonly string[],
) => Promise<{ readonly code: number | 'ENOENT'; readonly output: string }>;

export const runSmartctl: RunSmartctl = (args) =>
  new Promise((resolve) => {
    // It is a tool of the administrator, which a user's path does not show.
    const env = { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/local/sbin:/usr/sbin:/sbin` };
    const options = { timeout: ASK_MS, killSignal: 'SIGKILL' as const, maxBuffer: ANSWER_BYTES_MAX, env };
    execFile('smartctl', [...args], options, (error, output) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : 1;
      resolve({ code: systemCode(error) === 'ENOENT' ? 'ENOENT' : code, output });
    });
  });

export class Sensors {
  readonly #run: RunSmartctl;
  /** `/dev/sdb1` of a directory; undefined: it has none of its own. */
  readonly #deviceOf: (directory: string) => Promise<string | undefined>;
  readonly #nowMs: () => number;
  readonly #last = new Map<string, DiskSensor>();

  constructor(run: RunSmartctl, deviceOf: (directory: string) => Promise<string | undefined>, nowMs: () => number) {
    this.#run = run;
    this.#deviceOf = deviceOf;
    this.#nowMs = nowMs;
  }

  /** One after the other: a device that answers slowly holds up nobody but the rest of this. Never rejects. */
  async ask(disks: readonly DiskReport[]): Promise<readonly DiskSensor[]> {
    const sensors: DiskSensor[] = [];
    for (const { uuid, directory, state } of disks) {
      const last = this.#last.get(uuid);
      const sensor = state === 'online' || state === 'suspect' ? await this.#askOne(uuid, directory, last) : last;
      if (sensor === undefined) continue;
      this.#last.set(uuid, sensor);
      sensors.push(sensor);
    }
    return sensors;
  }

  async #askOne(uuid: string, directory: string, last: DiskSensor | undefined): Promise<DiskSensor> {
    const device = (await this.#deviceOf(directory).catch(() => undefined)) ?? null;
    const unknown = {
      uuid,
      device,
      model: null,
      serial: null,
      temperatureCelsius: null,
      smart: null,
      poweredOnHours: null,
      reallocatedSectors: null,
      pendingSectors: null,
      askedMs: this.#nowMs(),
    } as const;
    if (device === null) return { ...unknown, why: 'this directory has no device of its own that could be asked' };
    const { code, output } = await this.#run(['--json', '-i', '-H', '-A', '--nocheck=standby', device]);
    if (code === 'ENOENT') return { ...unknown, why: 'smartctl of the package smartmontools is not installed' };
    const answer = readAnswer(output);
    if (answer === undefined) return { ...unknown, why: 'smartctl gave no answer that can be read' };
    const { model_name: name, scsi_model_name: scsiName, serial_number: serial, temperature } = answer;
    const messages = answer.smartctl?.messages ?? [];
    if ((code & COULD_NOT_ASK) !== 0) {
      // Not looked for in the whole answer: what it was asked with is there too.
      const sleeps = /STANDBY|SLEEP/.test(JSON.stringify([messages, answer.power_mode]));
      if (sleeps) return last?.why === '' ? last : { ...unknown, why: 'it sleeps, and is not woken to be asked' };
      return { ...unknown, why: messages[0]?.string ?? 'the device tells nothing of itself' };
    }
    const passed = answer.smart_status?.passed;
    const attribute = (id: number): number | null =>
      answer.ata_smart_attributes?.table.find((entry) => entry.id === id)?.raw.value ?? null;
    return {
      ...unknown,
      model: name ?? scsiName ?? null,
      serial: serial ?? null,
      // RAID volumes say 0.
      temperatureCelsius: temperature?.current || null,
      smart: passed === undefined ? null : passed ? 'passed' : 'failing',
      poweredOnHours: answer.power_on_time?.hours ?? null,
      reallocatedSectors: attribute(REALLOCATED) ?? answer.scsi_grown_defect_list ?? null,
      pendingSectors: attribute(PENDING),
      why: passed === undefined ? 'the device says nothing of its health' : '',
    };
  }
}

function readAnswer(output: string): v.InferOutput<typeof Answer> | undefined {
  let json: unknown;
  try {
    json = JSON.parse(output);
  } catch {
    return undefined;
  }
  const answer = v.safeParse(Answer, json);
  return answer.success ? answer.output : undefined;
}
