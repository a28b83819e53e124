package dev.stigma.caller;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.google.protobuf.ByteString;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.MessageOrBuilder;
import com.google.protobuf.Timestamp;
import com.google.protobuf.util.Durations;
import com.google.protobuf.util.JsonFormat;
import com.google.protobuf.util.Timestamps;
import dev.stigma.agent.v1.AgentExecution;
import dev.stigma.agent.v1.AgentExecutionPhase;
import dev.stigma.agent.v1.CancelAgentExecutionRequest;
import dev.stigma.agent.v1.Failure;
import dev.stigma.agent.v1.StartAgentRequest;
import dev.stigma.agent.v1.TemporalCaller;
import dev.stigma.workflow.v1.CancelWorkflowExecutionRequest;
import dev.stigma.workflow.v1.StartWorkflowRequest;
import dev.stigma.workflow.v1.WorkflowExecution;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.temporal.activity.Activity;
import io.temporal.activity.ActivityExecutionContext;
import io.temporal.activity.ActivityInfo;
import io.temporal.failure.ApplicationFailure;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import java.util.function.Supplier;

/** Register it with a worker: worker.registerActivitiesImplementations(…). */
public final class StigmaActivitiesImpl implements StigmaActivities {
  // Of one RPC: Temporal retries the activity, so a lost reply costs seconds, not the call.
  private static final long RPC_SECONDS = 10;
  // A cancellation may overtake the start it is about: so long, "not found" means "not yet".
  private static final long OVERTAKING_NANOS = TimeUnit.SECONDS.toNanos(5);

  private final StigmaClient client;
  private final EventLog events;

  public StigmaActivitiesImpl(StigmaClient client, EventLog events) {
    this.client = client;
    this.events = events;
  }

  @Override
  public AgentExecution callAgent(StartAgentRequest request) {
    ActivityInfo info = Activity.getExecutionContext().getInfo();
    StartAgentRequest.Builder start =
        request.toBuilder().setCallbackToken(token(info)).setCaller(caller(info));
    if (isBounded(info)) {
      start.setCallbackDeadline(deadline(info));
    }
    return handOff(
        "agent",
        request.getAgentId(),
        request.getRequestId(),
        () ->
            client.agents().withDeadlineAfter(RPC_SECONDS, TimeUnit.SECONDS).startAgent(start.build()),
        it -> new State(it.getId(), it.getStatus().getPhaseValue(), it.getStatus().getFailure()));
  }

  @Override
  public WorkflowExecution callWorkflow(StartWorkflowRequest request) {
    ActivityInfo info = Activity.getExecutionContext().getInfo();
    StartWorkflowRequest.Builder start =
        request.toBuilder().setCallbackToken(token(info)).setCaller(caller(info));
    if (isBounded(info)) {
      start.setCallbackDeadline(deadline(info));
    }
    return handOff(
        "workflow",
        request.getWorkflowId(),
        request.getRequestId(),
        () ->
            client
                .workflows()
                .withDeadlineAfter(RPC_SECONDS, TimeUnit.SECONDS)
                .startWorkflow(start.build()),
        it -> new State(it.getId(), it.getStatus().getPhaseValue(), it.getStatus().getFailure()));
  }

  @Override
  public void cancelAgent(CancelAgentExecutionRequest request) {
    cancel(
        "agent",
        () ->
            client
                .agents()
                .withDeadlineAfter(RPC_SECONDS, TimeUnit.SECONDS)
                .cancelAgentExecution(request));
  }

  @Override
  public void cancelWorkflow(CancelWorkflowExecutionRequest request) {
    cancel(
        "workflow",
        () ->
            client
                .workflows()
                .withDeadlineAfter(RPC_SECONDS, TimeUnit.SECONDS)
                .cancelWorkflowExecution(request));
  }

  /** What an execution of either kind has; the phases of both have the same numbers. */
  private record State(String id, int phase, Failure failure) {}

  private <E extends MessageOrBuilder> E handOff(
      String kind, String name, String requestId, Supplier<E> start, Function<E, State> stateOf) {
    ActivityExecutionContext context = Activity.getExecutionContext();
    ActivityInfo info = context.getInfo();
    Map<String, Object> fields = new LinkedHashMap<>();
    fields.put("request_id", requestId);
    fields.put(kind, name);
    fields.put("callback_fingerprint", Fingerprint.of(info.getTaskToken()));
    fields.put("token_length", info.getTaskToken().length);
    fields.put("workflow_id", info.getWorkflowId());
    fields.put("run_id", info.getWorkflowRunId());
    fields.put("activity_id", info.getActivityId());
    fields.put("attempt", info.getAttempt());
    events.log("token_taken", fields);
    if (info.getTaskToken().length == 0) {
      String why = "this activity has no task token, so nobody could complete it";
      throw StigmaFailure.failed(kind, "INVALID_ARGUMENT", "start_" + kind, why, null);
    }
    events.log("start_requested", fields);
    E execution;
    try {
      execution = start.get();
    } catch (StatusRuntimeException e) {
      throw Refusals.failure(e, kind, "start_" + kind);
    }
    State state = stateOf.apply(execution);
    fields.put("execution_id", state.id());
    events.log("acknowledged", fields);
    switch (state.phase()) {
      case AgentExecutionPhase.AGENT_EXECUTION_PHASE_COMPLETED_VALUE:
        return execution; // before this attempt: its result is ours
      case AgentExecutionPhase.AGENT_EXECUTION_PHASE_FAILED_VALUE:
        throw ended(execution, state, kind, "FAILED");
      case AgentExecutionPhase.AGENT_EXECUTION_PHASE_CANCELLED_VALUE:
        throw ended(execution, state, kind, "CANCELLED");
      case AgentExecutionPhase.AGENT_EXECUTION_PHASE_TIMED_OUT_VALUE:
        throw ended(execution, state, kind, "TIMEOUT");
      default: // Stigma completes this activity with the outcome. No thread is held meanwhile.
        events.log("pending", fields);
        context.doNotCompleteOnReturn();
        return null;
    }
  }

  private static ByteString token(ActivityInfo info) {
    return ByteString.copyFrom(info.getTaskToken());
  }

  private static TemporalCaller caller(ActivityInfo info) {
    TemporalCaller.Builder caller =
        TemporalCaller.newBuilder()
            .setNamespace(info.getNamespace())
            .setWorkflowId(info.getWorkflowId())
            .setRunId(info.getWorkflowRunId())
            .setActivityId(info.getActivityId());
    if (!info.getHeartbeatTimeout().isZero()) {
      caller.setHeartbeatTimeout(Durations.fromMillis(info.getHeartbeatTimeout().toMillis()));
    }
    if (isBounded(info)) {
      // Both of Temporal's clock: neither this machine's nor the API's need agree with it.
      caller.setCallbackTimeout(
          Timestamps.between(
              Timestamps.fromMillis(info.getCurrentAttemptScheduledTimestamp()), deadline(info)));
    }
    return caller.build();
  }

  private static boolean isBounded(ActivityInfo info) {
    return !info.getScheduleToCloseTimeout().isZero();
  }

  private static Timestamp deadline(ActivityInfo info) {
    return Timestamps.fromMillis(
        info.getScheduledTimestamp() + info.getScheduleToCloseTimeout().toMillis());
  }

  /** The failure of an execution that was over before this attempt. */
  private static ApplicationFailure ended(
      MessageOrBuilder execution, State state, String kind, String outcome) {
    Map<String, Object> details = new LinkedHashMap<>();
    String reason = state.failure().getReason().name().replaceFirst("^FAILURE_REASON_", "");
    details.put("reason", reason);
    details.put("step", state.failure().getStep());
    try {
      String json = JsonFormat.printer().print(execution);
      details.put("execution", new ObjectMapper().readValue(json, Map.class));
    } catch (InvalidProtocolBufferException | JsonProcessingException e) {
      details.put("execution", Map.of("id", state.id())); // has no JSON form: tell the rest
    }
    String step = state.failure().getStep();
    String at = step.isEmpty() ? "" : " (at " + step + ")";
    return ApplicationFailure.newNonRetryableFailure(
        reason + ": " + state.failure().getMessage() + at,
        StigmaFailure.type(kind, outcome),
        details);
  }

  private static void cancel(String kind, Runnable ask) {
    long giveUp = System.nanoTime() + OVERTAKING_NANOS;
    while (true) {
      try {
        ask.run();
        return;
      } catch (StatusRuntimeException e) {
        boolean notYet = e.getStatus().getCode() == Status.Code.NOT_FOUND;
        if (!notYet || System.nanoTime() > giveUp) {
          throw Refusals.failure(e, kind, "cancel_" + kind);
        }
      }
      try {
        Thread.sleep(250);
      } catch (InterruptedException e) {
        throw Activity.wrap(e);
      }
    }
  }
}
