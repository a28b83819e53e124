// The activities behind runAgent and runWorkflow.
import { createHash } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { status, type ServiceError } from '@grpc/grpc-js';
import { activityInfo, CompleteAsyncError, Context, log, type Info } from '@temporalio/activity';
import { ApplicationFailure } from '@temporalio/common';
import type { AgentExecution__Output } from '../../gen/stigma/agent/v1/AgentExecution.ts';
import type { CancelAgentExecutionRequest } from '../../gen/stigma/agent/v1/CancelAgentExecutionRequest.ts';
import type { StartAgentRequest } from '../../gen/stigma/agent/v1/StartAgentRequest.ts';
import type { CancelWorkflowExecutionRequest } from '../../gen/stigma/workflow/v1/CancelWorkflowExecutionRequest.ts';
import type { StartWorkflowRequest } from '../../gen/stigma/workflow/v1/StartWorkflowRequest.ts';
import type { WorkflowExecution__Output } from '../../gen/stigma/workflow/v1/WorkflowExecution.ts';
import type { StigmaClient } from './client.ts';
import { failed, failureType, type FailureDetails, type Kind } from './failure.ts';
import { refusal } from './refusals.ts';

/** A cancellation may overtake the start it is about: so long, "not found" means "not yet". */
const OVERTAKING_MS = 5_000;

type Execution = AgentExecution__Output | WorkflowExecution__Output;

export function activities(api: StigmaClient) {
  const { agents, workflows } = api;
  return {
    /**
     * Starts an agent and stays pending: it hands its task token to Stigma, which completes it with
     * the outcome. No worker is held meanwhile.
     */
    call_agent(request: StartAgentRequest): Promise<unknown> {
      return handOff('agent', request.agentId, request.requestId, (caller) =>
        api.call(agents, agents.startAgent, { ...request, ...caller }),
      );
    },

    /** As call_agent, for a Stigma workflow. */
    call_workflow(request: StartWorkflowRequest): Promise<unknown> {
      return handOff('workflow', request.workflowId, request.requestId, (caller) =>
        api.call(workflows, workflows.startWorkflow, { ...request, ...caller }),
      );
    },

    /** Stops an agent, by its request id. */
    cancel_agent(request: CancelAgentExecutionRequest): Promise<void> {
      return cancel('agent', () => api.call(agents, agents.cancelAgentExecution, request));
    },

    /** Stops a Stigma workflow, by its request id. */
    cancel_workflow(request: CancelWorkflowExecutionRequest): Promise<void> {
      return cancel('workflow', () =>
        api.call(workflows, workflows.cancelWorkflowExecution, request),
      );
    },
  };
}

/** Stands for a token in every log: never log the token itself. */
export function fingerprint(token: Uint8Array): string {
  return createHash('sha256').update(token).digest('hex').slice(0, 12);
}

async function handOff(
  kind: Kind,
  name: string | undefined,
  requestId: string | undefined,
  start: (caller: ReturnType<typeof callerOf>) => Promise<Execution>,
): Promise<unknown> {
  const info = activityInfo();
  const known: Record<string, unknown> = {
    request_id: requestId,
    [kind]: name,
    callback_fingerprint: fingerprint(info.taskToken),
    token_length: info.taskToken.length,
    workflow_id: info.workflowExecution?.workflowId,
    run_id: info.workflowExecution?.runId,
    activity_id: info.activityId,
    attempt: info.attempt,
  };
  log.info('token_taken', known);
  if (info.taskToken.length === 0) {
    const message = 'this activity has no task token, so nobody could complete it';
    throw failed(kind, 'INVALID_ARGUMENT', `start_${kind}`, message);
  }
  log.info('start_requested', known);
  let execution: Execution;
  try {
    execution = await start(callerOf(info));
  } catch (error) {
    throw refusal(error, kind, `start_${kind}`);
  }
  known.execution_id = execution.id;
  log.info('acknowledged', known);
  const phase = execution.status?.phase.replace(/^.*_PHASE_/, '');
  switch (phase) {
    case 'COMPLETED':
      return output(execution); // before this attempt: its result is ours
    case 'FAILED':
    case 'CANCELLED':
      throw ended(execution, kind, phase);
    case 'TIMED_OUT':
      throw ended(execution, kind, 'TIMEOUT');
  }
  log.info('pending', known);
  throw new CompleteAsyncError();
}

/** What the API needs of whoever waits. It compares the deadline with its own clock. */
function callerOf(info: Info) {
  const heartbeatTimeout = info.heartbeatTimeoutMs ? duration(info.heartbeatTimeoutMs) : undefined;
  const deadline = info.scheduledTimestampMs + info.scheduleToCloseTimeoutMs;
  return {
    callbackToken: info.taskToken,
    // The default, a message of Stigma's, is binary/protobuf, which the SDK's converter does not read.
    callbackPayload: 'CALLBACK_PAYLOAD_OUTPUT',
    callbackDeadline: info.scheduleToCloseTimeoutMs ? duration(deadline) : undefined,
    caller: {
      namespace: info.workflowNamespace,
      workflowId: info.workflowExecution?.workflowId,
      runId: info.workflowExecution?.runId,
      activityId: info.activityId,
      heartbeatTimeout,
    },
  } as const;
}

/** A Duration, or a Timestamp: the same fields. */
function duration(milliseconds: number): { seconds: number; nanos: number } {
  const seconds = Math.floor(milliseconds / 1000);
  return { seconds, nanos: Math.round((milliseconds - seconds * 1000) * 1e6) };
}

/** What Stigma completes the activity with. */
function output(execution: Execution): unknown {
  const made = execution.status?.output;
  return made?.json ? JSON.parse(made.json) : made && 'text' in made ? made.text : null;
}

/** The failure of an execution that was over before this attempt. */
function ended(
  execution: Execution,
  kind: Kind,
  outcome: 'FAILED' | 'TIMEOUT' | 'CANCELLED',
): ApplicationFailure {
  const failure = execution.status?.failure;
  const reason = failure?.reason.replace(/^FAILURE_REASON_/, '') ?? '';
  const step = failure?.step ?? '';
  const details: FailureDetails = { reason, step, execution: { id: execution.id } };
  return ApplicationFailure.create({
    type: failureType(kind, outcome),
    nonRetryable: true,
    message: `${reason}: ${failure?.message ?? ''}${step && ` (at ${step})`}`,
    details: [details],
  });
}

async function cancel(kind: Kind, ask: () => Promise<unknown>): Promise<void> {
  const giveUp = Date.now() + OVERTAKING_MS;
  for (;;) {
    try {
      await ask();
      return;
    } catch (error) {
      const { code } = error as ServiceError;
      if (code !== status.NOT_FOUND || Date.now() > giveUp) {
        throw refusal(error, kind, `cancel_${kind}`);
      }
    }
    await pause(250, undefined, { signal: Context.current().cancellationSignal });
  }
}
