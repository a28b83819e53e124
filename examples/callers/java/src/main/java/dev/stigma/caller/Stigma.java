package dev.stigma.caller;

import com.google.protobuf.Message;
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
import io.temporal.failure.TemporalFailure;
import io.temporal.workflow.Workflow;
import java.time.Duration;
import java.util.function.Function;
import org.slf4j.Logger;

/**
 * What a workflow calls. The worker needs {@link StigmaActivitiesImpl}.
 *
 * <p>For several at once: {@code Async.function(() -> Stigma.runAgent(…))}.
 */
public final class Stigma {
  /** 24 h, and notice of a lost worker or execution within 5 min. */
  public static final Bounds DEFAULT_BOUNDS = new Bounds(Duration.ofHours(24));

  private static final String CALLER_CANCELLED = "the calling workflow was cancelled";

  /** Temporal refuses more than 2 MiB, and some refusals terminate the workflow. */
  private static final int MAX_REQUEST_BYTES = 3 << 19;

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
   * @throws TemporalFailure see {@link StigmaFailure#of}
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
            .setReason(CALLER_CANCELLED)
            .build();
    return new Call<>(
            "agent",
            request.getAgentId(),
            start.getRequestId(),
            start.build(),
            AgentExecution.class,
            AgentExecution::getId,
            cancel)
        .outcome(bounds);
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
            .setReason(CALLER_CANCELLED)
            .build();
    return new Call<>(
            "workflow",
            request.getWorkflowId(),
            start.getRequestId(),
            start.build(),
            WorkflowExecution.class,
            WorkflowExecution::getId,
            cancel)
        .outcome(bounds);
  }

  /** One call of an agent or of a Stigma workflow, which comes to an E. */
  private record Call<E>(
      String kind,
      String name,
      String requestId,
      Message request,
      Class<E> type,
      Function<E, String> idOf,
      Message cancel) {

    E outcome(Bounds bounds) {
      ActivityOptions options = options(bounds);
      int size = request.getSerializedSize();
      if (size > MAX_REQUEST_BYTES) {
        String message = "request is %d bytes; the limit is %d".formatted(size, MAX_REQUEST_BYTES);
        throw StigmaFailure.failed(kind, "TOO_LARGE", "start_" + kind, message, null);
      }
      Logger log = Workflow.getLogger(Stigma.class);
      try {
        E execution =
            Workflow.newUntypedActivityStub(options).execute("call_" + kind, type, request);
        log.info("resumed request_id={} execution_id={}", requestId, idOf.apply(execution));
        return execution;
      } catch (ActivityFailure e) {
        if (e.getCause() instanceof CanceledFailure) {
          Workflow.newDetachedCancellationScope(this::stop).run();
          throw e;
        }
        TemporalFailure error = e;
        if (StigmaFailure.of(e) == null) { // no outcome that Stigma delivers
          error = StigmaFailure.failed(kind, "INTERNAL", "", "the calling activity failed", e);
        }
        StigmaFailure failure = StigmaFailure.of(error);
        log.info(
            "resumed request_id={} execution_id={} error={}",
            requestId,
            failure.executionId(),
            failure.type());
        throw error;
      }
    }

    private ActivityOptions options(Bounds bounds) {
      Duration timeout = bounds.timeout();
      if (!isPositive(timeout) || !isPositive(bounds.heartbeatTimeout())) {
        throw StigmaFailure.failed(
            kind,
            "INVALID_ARGUMENT",
            "start_" + kind,
            "timeout and heartbeatTimeout must be positive",
            null);
      }
      // A margin, so that Stigma's own outcome arrives before Temporal's timeout.
      Duration margin = Duration.ofSeconds(30);
      Duration bound = timeout.plus(margin.compareTo(timeout) < 0 ? margin : timeout);
      return ActivityOptions.newBuilder()
          .setScheduleToCloseTimeout(bound)
          .setStartToCloseTimeout(bound)
          .setHeartbeatTimeout(bounds.heartbeatTimeout())
          // Every attempt has a token of its own and starts are idempotent: retrying is safe. Not
          // retrying would turn each deployment of your workers into failed calls.
          .setRetryOptions(retries(Duration.ofSeconds(1), Duration.ofSeconds(30)))
          .setSummary(name)
          .build();
    }

    /**
     * Cancels the execution. Cancelling the activity alone would not do: no code of it runs any
     * more. If this fails, Stigma notices within the heartbeat timeout that nobody waits.
     */
    private void stop() {
      ActivityOptions options =
          ActivityOptions.newBuilder()
              .setScheduleToCloseTimeout(Duration.ofSeconds(30))
              .setStartToCloseTimeout(Duration.ofSeconds(16))
              .setRetryOptions(retries(Duration.ofMillis(500), Duration.ofSeconds(5)))
              .build();
      try {
        Workflow.newUntypedActivityStub(options).execute("cancel_" + kind, Void.class, cancel);
      } catch (ActivityFailure e) {
        Logger log = Workflow.getLogger(Stigma.class);
        log.warn("cancel_failed request_id={} reason={}", requestId, e.toString());
      }
    }
  }

  private static boolean isPositive(Duration duration) {
    return !duration.isNegative() && !duration.isZero();
  }

  private static RetryOptions retries(Duration first, Duration longest) {
    return RetryOptions.newBuilder().setInitialInterval(first).setMaximumInterval(longest).build();
  }
}
