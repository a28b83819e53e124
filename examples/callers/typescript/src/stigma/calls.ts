// What a workflow calls. The worker needs the plugin of plugin.ts.
import type { Duration } from '@temporalio/common';
import { msToNumber } from '@temporalio/common/lib/time.js';
import {
  ActivityCancellationType,
  CancellationScope,
  isCancellation,
  log,
  proxyActivities,
  uuid4,
  workflowInfo,
} from '@temporalio/workflow';
import type { CancelAgentExecutionRequest } from '../../gen/stigma/agent/v1/CancelAgentExecutionRequest.ts';
import type { StartAgentRequest } from '../../gen/stigma/agent/v1/StartAgentRequest.ts';
import type { StartWorkflowRequest } from '../../gen/stigma/workflow/v1/StartWorkflowRequest.ts';
import { failed, failureOf, type Kind } from './failure.ts';

export interface Bounds {
  /**
   * How long the execution may take, outages of workers included: 24 h by default. Give twice what
   * you expect.
   */
  timeout?: Duration;
  /**
   * How late the loss of this worker (while it asks), or of the execution, is noticed: 5 min by
   * default. Stigma sends the heartbeats.
   */
  heartbeatTimeout?: Duration;
}

/** What the activity fills in. */
type Filled = 'callbackToken' | 'caller' | 'callbackDeadline' | 'callbackPayload';

/** Temporal refuses more than 2 MiB, and some refusals terminate the workflow. */
const MAX_REQUEST_BYTES = 3 << 19;

/**
 * Runs an agent and returns its answer: a text, or the JSON of an agent with an output schema. A
 * cancelled scope cancels the agent. An empty request id gets one that is the same over retries and
 * replays.
 *
 * @throws what failureOf reads
 */
export async function runAgent<T = string>(
  request: Omit<StartAgentRequest, Filled>,
  bounds: Bounds = {},
): Promise<T> {
  const name = request.agentId ?? '';
  return (await outcome('agent', name, request, bounds)) as T;
}

/** Runs a Stigma workflow, as runAgent does an agent, and returns its output. */
export async function runWorkflow<T = unknown>(
  request: Omit<StartWorkflowRequest, Filled>,
  bounds: Bounds = {},
): Promise<T> {
  const name = request.workflowId ?? '';
  return (await outcome('workflow', name, request, bounds)) as T;
}

type Activities = Record<string, (request: object) => Promise<unknown>>;

async function outcome(
  kind: Kind,
  name: string,
  asked: { requestId?: string },
  bounds: Bounds,
): Promise<unknown> {
  const timeout = msToNumber(bounds.timeout ?? '24h');
  const heartbeatTimeout = msToNumber(bounds.heartbeatTimeout ?? '5m');
  if (timeout <= 0 || heartbeatTimeout <= 0) {
    const message = 'timeout and heartbeatTimeout must be positive';
    throw failed(kind, 'INVALID_ARGUMENT', `start_${kind}`, message);
  }
  const unique = uuid4();
  const request = { ...asked, requestId: asked.requestId || unique };
  const size = new TextEncoder().encode(JSON.stringify(request)).length;
  if (size > MAX_REQUEST_BYTES) {
    const message = `request is ${size} bytes; the limit is ${MAX_REQUEST_BYTES}`;
    throw failed(kind, 'TOO_LARGE', `start_${kind}`, message);
  }
  // A margin, so that Stigma's own outcome arrives before Temporal's timeout.
  const bound = timeout + Math.min(timeout, 30_000);
  const activities = proxyActivities<Activities>({
    activityId: `${kind}-${unique}`,
    scheduleToCloseTimeout: bound,
    startToCloseTimeout: bound,
    heartbeatTimeout,
    // Every attempt has a token of its own and starts are idempotent: retrying is safe. Not
    // retrying would turn each deployment of your workers into failed calls.
    retry: { initialInterval: '1s', maximumInterval: '30s' },
    // No code of the activity runs any more that could say it was cancelled.
    cancellationType: ActivityCancellationType.TRY_CANCEL,
    summary: name,
  });
  try {
    const output = await activities[`call_${kind}`](request);
    log.info('resumed', { request_id: request.requestId });
    return output;
  } catch (error) {
    if (isCancellation(error)) {
      await CancellationScope.nonCancellable(() => stop(kind, request.requestId));
      throw error;
    }
    const cause = error instanceof Error ? error : undefined;
    const told = failureOf(error)
      ? error
      : failed(kind, 'INTERNAL', '', 'the calling activity failed', { cause });
    const failure = failureOf(told);
    log.info('resumed', {
      request_id: request.requestId,
      execution_id: failure?.executionId,
      error: failure?.type,
    });
    throw told;
  }
}

/**
 * Cancels the execution. Cancelling the activity alone would not do: no code of it runs any more. If
 * this fails, Stigma notices within the heartbeat timeout that nobody waits.
 */
async function stop(kind: Kind, requestId: string): Promise<void> {
  const request: CancelAgentExecutionRequest = {
    requestId,
    namespace: workflowInfo().namespace,
    reason: 'the calling workflow was cancelled',
  };
  const activities = proxyActivities<Activities>({
    scheduleToCloseTimeout: '30s',
    startToCloseTimeout: '16s',
    retry: { initialInterval: '500ms', maximumInterval: '5s' },
  });
  try {
    await activities[`cancel_${kind}`](request);
  } catch (error) {
    log.warn('cancel_failed', { request_id: requestId, reason: String(error) });
  }
}
