// What a worker needs for runAgent and runWorkflow: `Worker.create({ plugins: [stigmaPlugin(api)], … })`.
import type { ActivityInterceptors, WorkerOptions, WorkerPlugin } from '@temporalio/worker';
import { activities } from './activities.ts';
import type { StigmaClient } from './client.ts';
import { withoutTokens } from './logs.ts';

export function stigmaPlugin(api: StigmaClient): WorkerPlugin {
  return {
    name: 'stigma',
    configureWorker(options: WorkerOptions): WorkerOptions {
      const { activity = [], ...interceptors } = options.interceptors ?? {};
      const logs = (): ActivityInterceptors => ({
        outbound: {
          getLogAttributes: (input, next) => withoutTokens(next(input)),
        },
      });
      return {
        ...options,
        activities: { ...options.activities, ...activities(api) },
        interceptors: { ...interceptors, activity: [logs, ...activity] },
      };
    },
  };
}
