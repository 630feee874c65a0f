/** Puts the monitor of a mounted pool together: its history in the pool's directory, smartctl, and the ways of `[notify]`. */
import { hostname } from 'node:os';
import { SystemClock } from '../io/clock.js';
import { NodeFileIo } from '../io/node-file-io.js';
import { Monitor } from '../monitor/monitor.js';
import { Notifier, wordsOf } from '../monitor/notifier.js';
import { runSmartctl, Sensors } from '../monitor/sensors.js';
import { waysOf } from '../monitor/ways.js';
import { DEFAULT_FULL_PERCENT, type NotifyConfig } from '../pool/face-config.js';
import type { PoolControl } from '../vfs/reports.js';
import { deviceOf } from './block-device.js';
import type { PoolLog, Watch } from './pool-opener.js';

export async function watchPool(
  control: PoolControl,
  { poolDirectory, notify, log }: { poolDirectory: string; notify: NotifyConfig | undefined; log: PoolLog },
): Promise<Watch> {
  const clock = new SystemClock();
  const parts = {
    control,
    clock,
    io: new NodeFileIo(),
    poolDirectory,
    sensors: new Sensors(runSmartctl, deviceOf, () => clock.nowMs()),
    warn: (error: unknown, message: string) => log.warn({ err: error }, message),
  };
  const monitor = new Monitor(parts, DEFAULT_FULL_PERCENT);
  const tell = (config: NotifyConfig | undefined): void => {
    monitor.fullPercent = config?.fullPercent ?? DEFAULT_FULL_PERCENT;
    monitor.notifyBy(config && notifierOf(config));
  };
  const notifierOf = (config: NotifyConfig): Notifier =>
    new Notifier({
      ways: waysOf(config),
      on: config.on,
      pool: poolDirectory,
      host: hostname(),
      clock,
      onFailure: (way, { event }, error) => {
        log.error({ err: error, event }, `a notification could not be sent by ${way}`);
        monitor.report({
          kind: 'notify-failed',
          severity: 'warning',
          message: `A notification could not be sent by ${way}: ${wordsOf(error)}. It was: ${event.message}`,
          advice: `Correct [notify] in cairn.toml, then: cairn web test-notifications ${poolDirectory}`,
        });
      },
    });
  tell(notify);
  await monitor.start();
  return { monitor, notify: tell, close: () => monitor.close() };
}
