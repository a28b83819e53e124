package dev.stigma.caller;

import dev.stigma.agent.v1.AgentExecution;
import dev.stigma.agent.v1.CancelAgentExecutionRequest;
import dev.stigma.agent.v1.StartAgentRequest;
import dev.stigma.workflow.v1.CancelWorkflowExecutionRequest;
import dev.stigma.workflow.v1.StartWorkflowRequest;
import dev.stigma.workflow.v1.WorkflowExecution;
import io.temporal.activity.ActivityOptions;
import io.temporal.common.RetryOptions;
import io.temporal.failure.ActivityFailure;
import io.temporal.failure.CanceledFailure;
import io.temporal.workflow.Workflow;
import java.time.Duration;

/**
 * What a workflow calls. The worker needs {@link StigmaActivitiesImpl}.
 *
 * <p>For several at once: {@code Async.function(() -> Stigma.runAgent(…))}.
 */
public final class Stigma {
  /** 24 h, and notice of a lost worker or execution within 5 min. */
  public static final Bounds DEFAULT_BOUNDS = new Bounds(Duration.ofHours(24));

  private static final String CANCELLED = "the calling workflow was cancelled";

  private Stigma() {}

  /**
   * @param timeout how long the execution may take, outages of workers included: give twice what
   *     you expect
   * @param heartbeatTimeout how late the loss of this worker (while it asks), or of the execution,
   *     is noticed; Stigma sends the heartbeats
   */
  public record Bounds(Duration timeout, Duration heartbeatTimeout) {
    public Bounds(Duration timeout) {
      this(timeout, Duration.ofMinutes(5));
    }
  }

  /**
   * Runs an agent and waits for its outcome. Cancelling the scope cancels the agent. The request's
   * token, caller and deadline are filled in by the activity; an empty request id gets one that is
   * the same over retries and replays.
   *
   * @throws ActivityFailure see {@link StigmaFailure#of}
   */
  public static AgentExecution runAgent(StartAgentRequest request, Bounds bounds) {
    StartAgentRequest.Builder start = request.toBuilder();
    if (request.getRequestId().isEmpty()) {
      start.setRequestId(Workflow.randomUUID().toString());
    }
    CancelAgentExecutionRequest cancel =
        CancelAgentExecutionRequest.newBuilder()
            .setRequestId(start.getRequestId())
            .setNamespace(Workflow.getInfo().getNamespace())
            .setReason(CANCELLED)
            .build();
    return run("agent", start.build(), AgentExecution.class, bounds, cancel);
  }

  /** Runs a Stigma workflow, as {@link #runAgent} does an agent. */
  public static WorkflowExecution runWorkflow(StartWorkflowRequest request, Bounds bounds) {
    StartWorkflowRequest.Builder start = request.toBuilder();
    if (request.getRequestId().isEmpty()) {
      start.setRequestId(Workflow.randomUUID().toString());
    }
    CancelWorkflowExecutionRequest cancel =
        CancelWorkflowExecutionRequest.newBuilder()
            .setRequestId(start.getRequestId())
            .setNamespace(Workflow.getInfo().getNamespace())
            .setReason(CANCELLED)
            .build();
    return run("workflow", start.build(), WorkflowExecution.class, bounds, cancel);
  }

  private static <E> E run(
      String kind, Object request, Class<E> execution, Bounds bounds, Object cancel) {
    // A margin, so that Stigma's own outcome arrives before Temporal's timeout.
    Duration margin = Duration.ofSeconds(30);
    Duration bound =
        bounds.timeout().plus(margin.compareTo(bounds.timeout()) < 0 ? margin : bounds.timeout());
    ActivityOptions options =
        ActivityOptions.newBuilder()
            .setScheduleToCloseTimeout(bound)
            .setStartToCloseTimeout(bound)
            .setHeartbeatTimeout(bounds.heartbeatTimeout())
            // Every attempt has a token of its own and starts are idempotent: retrying is safe. Not
            // retrying would turn each deployment of your workers into failed calls.
            .setRetryOptions(retries(Duration.ofSeconds(1), Duration.ofSeconds(30)))
            .build();
    try {
      return Workflow.newUntypedActivityStub(options).execute("call_" + kind, execution, request);
    } catch (ActivityFailure e) {
      if (e.getCause() instanceof CanceledFailure) {
        Workflow.newDetachedCancellationScope(() -> stop(kind, cancel)).run();
      }
      throw e;
    }
  }

  /**
   * Cancels the execution. Cancelling the activity alone would not do: no code of it runs any more.
   * If this fails, Stigma notices within the heartbeat timeout that nobody waits.
   */
  private static void stop(String kind, Object cancel) {
    ActivityOptions options =
        ActivityOptions.newBuilder()
            .setScheduleToCloseTimeout(Duration.ofSeconds(30))
            .setStartToCloseTimeout(Duration.ofSeconds(16))
            .setRetryOptions(retries(Duration.ofMillis(500), Duration.ofSeconds(5)))
            .build();
    try {
      Workflow.newUntypedActivityStub(options).execute("cancel_" + kind, Void.class, cancel);
    } catch (ActivityFailure e) {
      Workflow.getLogger(Stigma.class).warn("cancel_failed", e);
    }
  }

  private static RetryOptions retries(Duration first, Duration longest) {
    return RetryOptions.newBuilder().setInitialInterval(first).setMaximumInterval(longest).build();
  }
}
