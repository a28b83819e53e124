// The examples' workflows.
import type { Duration } from '@temporalio/common';
import { runAgent, runWorkflow } from './stigma/calls.ts';
import { FailureType, failureOf } from './stigma/failure.ts';

/** Asks one agent. An error that nobody catches fails the workflow with Stigma's type. */
export async function single(agent: string, message: string, timeout: Duration): Promise<string> {
  return runAgent({ agentId: agent, message }, { timeout });
}

/** Asks several agents at once, and waits for all. Each has a token of its own. */
export async function parallel(
  agents: string[],
  message: string,
  timeout: Duration,
): Promise<string[]> {
  return Promise.all(agents.map((agent) => single(agent, message, timeout)));
}

/** Waits for a Stigma workflow, and answers without it when it takes too long. */
export async function withFallback(
  name: string,
  input: string,
  fallback: string,
  timeout: Duration,
): Promise<string> {
  try {
    return JSON.stringify(await runWorkflow({ workflowId: name, inputJson: input }, { timeout }));
  } catch (error) {
    const failure = failureOf(error);
    switch (failure?.type) {
      case FailureType.WorkflowTimeout:
        // Stigma's own answer: the execution is TIMED_OUT and has been stopped.
        return `${fallback} (${failure.type}, ${failure.executionId})`;
      case FailureType.TemporalTimeout:
        // Nobody answered in time. The execution, if there is one, is stopped when Stigma is back.
        return `${fallback} (${failure.type}, ${failure.reason})`;
      default:
        // WorkflowFailed, with reason and step; WorkflowCancelled by somebody; or our own
        // cancellation: the Stigma workflow is cancelled too.
        throw error;
    }
  }
}
