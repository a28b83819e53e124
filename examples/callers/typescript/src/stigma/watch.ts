// Watching an execution without any Temporal workflow.
import { setTimeout as pause } from 'node:timers/promises';
import { status, type ServiceError } from '@grpc/grpc-js';
import type { AgentExecution__Output } from '../../gen/stigma/agent/v1/AgentExecution.ts';
import type { WatchAgentExecutionResponse__Output } from '../../gen/stigma/agent/v1/WatchAgentExecutionResponse.ts';
import type { StigmaClient } from './client.ts';

/**
 * Yields everything that happens to an execution, and returns it when it has ended. It loses
 * nothing: after a broken connection it goes on behind the last event.
 */
export async function* watchAgent(
  api: StigmaClient,
  id: string,
): AsyncGenerator<WatchAgentExecutionResponse__Output, AgentExecution__Output> {
  let cursor = '';
  for (;;) {
    const stream = api.agents.watchAgentExecution({ id, cursor }, api.accompaniment());
    try {
      for await (const each of stream) {
        const event = each as WatchAgentExecutionResponse__Output;
        cursor = event.cursor;
        yield event;
        if (event.ended?.execution) {
          return event.ended.execution;
        }
      }
    } catch (error) {
      if ((error as ServiceError).code !== status.UNAVAILABLE) {
        throw error;
      }
    } finally {
      stream.cancel(); // or a stream that is not read to its end would stay
    }
    await pause(1_000);
  }
}
