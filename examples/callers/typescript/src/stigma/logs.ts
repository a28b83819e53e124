// Keeps task tokens out of logs: the SDK attaches them to what it logs of activities.
import type { Logger, LogMetadata } from '@temporalio/common';

/** Attributes of the SDK's log lines that hold a token, or a task with its token. */
const SECRET = ['taskToken', 'task', 'taskEncoded'];

export function withoutTokens(attributes: LogMetadata): LogMetadata {
  return Object.fromEntries(Object.entries(attributes).filter(([name]) => !SECRET.includes(name)));
}

/** A logger for `Runtime.install` that drops them from every line. */
export function tokenFree(logger: Logger): Logger {
  const cleaned = (meta?: LogMetadata) => meta && withoutTokens(meta);
  return {
    log: (level, message, meta) => logger.log(level, message, cleaned(meta)),
    trace: (message, meta) => logger.trace(message, cleaned(meta)),
    debug: (message, meta) => logger.debug(message, cleaned(meta)),
    info: (message, meta) => logger.info(message, cleaned(meta)),
    warn: (message, meta) => logger.warn(message, cleaned(meta)),
    error: (message, meta) => logger.error(message, cleaned(meta)),
  };
}
