// Why a call did not complete. Workflows import this: it does no I/O.
import { ActivityFailure, ApplicationFailure, TimeoutFailure } from '@temporalio/common';

export type Kind = 'agent' | 'workflow';

/** Types of a failure. The first six are Stigma's, on the wire too. */
export const FailureType = {
  AgentFailed: 'AGENT_EXECUTION_FAILED',
  AgentTimeout: 'AGENT_EXECUTION_TIMEOUT',
  /** Through the API; not the caller's own cancellation. */
  AgentCancelled: 'AGENT_EXECUTION_CANCELLED',
  WorkflowFailed: 'WORKFLOW_EXECUTION_FAILED',
  WorkflowTimeout: 'WORKFLOW_EXECUTION_TIMEOUT',
  WorkflowCancelled: 'WORKFLOW_EXECUTION_CANCELLED',
  /** Temporal's own: nobody answered before schedule-to-close. */
  TemporalTimeout: 'TEMPORAL_TIMEOUT',
} as const;

export type FailureType = (typeof FailureType)[keyof typeof FailureType];

export interface StigmaFailure {
  type: FailureType;
  /** "STEP_LIMIT", …; or the gRPC code that refused the start; or a timeout's type. */
  reason: string;
  /** "model_call 2", …; "start_agent" when nothing was started. */
  step: string;
  /** Empty when nothing is known of an execution. */
  executionId: string;
  message: string;
}

/** The detail of Stigma's failures. */
export interface FailureDetails {
  reason: string;
  step: string;
  field_violations?: { field: string; description: string }[];
  execution?: { id: string };
}

/**
 * Reads the error of runAgent or runWorkflow, or one that wraps it; undefined when it is none, or a
 * cancellation of the caller itself. Throw that error on and its type stays what it is.
 */
export function failureOf(error: unknown): StigmaFailure | undefined {
  const chain = causes(error);
  for (const each of chain) {
    if (each instanceof ApplicationFailure && isOurs(each.type)) {
      const details = (each.details?.[0] ?? {}) as Partial<FailureDetails>;
      return {
        type: each.type,
        reason: details.reason ?? '',
        step: details.step ?? '',
        executionId: details.execution?.id ?? '',
        message: each.message,
      };
    }
  }
  for (const each of chain) {
    // A retry that does not fit before the deadline ends with the last attempt's own error.
    const late = each instanceof ActivityFailure && each.retryState === 'TIMEOUT';
    if (late || each instanceof TimeoutFailure) {
      const type = each instanceof TimeoutFailure ? each.timeoutType : undefined;
      const reason = type ?? 'SCHEDULE_TO_CLOSE';
      const { message } = each;
      return { type: FailureType.TemporalTimeout, reason, step: '', executionId: '', message };
    }
  }
  return undefined;
}

/** Whether it was a timeout: Stigma's own comes first, Temporal's when Stigma could not tell. */
export function timedOut(failure: StigmaFailure): boolean {
  return failure.type.endsWith('_TIMEOUT');
}

/** The error of a call for which there is no execution to tell of. */
export function failed(
  kind: Kind,
  reason: string,
  step: string,
  message: string,
  { cause, violations }: { cause?: Error; violations?: FailureDetails['field_violations'] } = {},
): ApplicationFailure {
  const details: FailureDetails = { reason, step };
  if (violations?.length) {
    details.field_violations = violations;
  }
  return ApplicationFailure.create({
    type: failureType(kind, 'FAILED'),
    nonRetryable: true,
    message: `${reason}: ${message} (at ${step})`,
    details: [details],
    cause,
  });
}

export function failureType(kind: Kind, outcome: 'FAILED' | 'TIMEOUT' | 'CANCELLED'): FailureType {
  return `${kind === 'agent' ? 'AGENT' : 'WORKFLOW'}_EXECUTION_${outcome}`;
}

function isOurs(type: string | null | undefined): type is FailureType {
  return Object.values<unknown>(FailureType).includes(type);
}

function causes(error: unknown): Error[] {
  const chain: Error[] = [];
  for (let each = error; each instanceof Error; each = each.cause) {
    chain.push(each);
  }
  return chain;
}
