/** Where a pool says what happens: shaped as pino's logger, what happened in words, figures in the fields. */
export interface PoolLog {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export const silentLog: PoolLog = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
