package dev.stigma.caller;

import io.temporal.api.enums.v1.RetryState;
import io.temporal.failure.ActivityFailure;
import io.temporal.failure.ApplicationFailure;
import io.temporal.failure.TimeoutFailure;
import java.util.Map;

/**
 * Why a call of {@link Stigma} did not complete. Rethrow the ActivityFailure from your workflow and
 * its type stays what it is.
 *
 * @param type one of the constants below
 * @param reason "STEP_LIMIT", …; or the gRPC code that refused the start
 * @param step "model_call 2", …; "start_agent" when nothing was started
 * @param executionId empty when nothing is known of an execution
 */
public record StigmaFailure(
    String type, String reason, String step, String executionId, String message) {
  public static final String AGENT_FAILED = "AGENT_EXECUTION_FAILED";
  public static final String AGENT_TIMEOUT = "AGENT_EXECUTION_TIMEOUT";

  /** Through the API; not the caller's own cancellation. */
  public static final String AGENT_CANCELLED = "AGENT_EXECUTION_CANCELLED";

  public static final String WORKFLOW_FAILED = "WORKFLOW_EXECUTION_FAILED";
  public static final String WORKFLOW_TIMEOUT = "WORKFLOW_EXECUTION_TIMEOUT";
  public static final String WORKFLOW_CANCELLED = "WORKFLOW_EXECUTION_CANCELLED";

  /** Temporal's own: nobody answered before schedule-to-close. */
  public static final String TEMPORAL_TIMEOUT = "TEMPORAL_TIMEOUT";

  /** Both kinds of timeout: Stigma's own comes first, Temporal's when Stigma could not tell. */
  public boolean timedOut() {
    return type.endsWith("_TIMEOUT");
  }

  /** What an activity failed with; null when it was cancelled by its own workflow. */
  public static StigmaFailure of(ActivityFailure failure) {
    Throwable cause = failure.getCause();
    if (cause instanceof ApplicationFailure application
        && application.getType().contains("_EXECUTION_")) {
      Map<?, ?> details =
          application.getDetails().getSize() > 0
              ? application.getDetails().get(Map.class)
              : Map.of();
      Object id = details.get("execution") instanceof Map<?, ?> execution ? execution.get("id") : "";
      return new StigmaFailure(
          application.getType(),
          text(details.get("reason")),
          text(details.get("step")),
          text(id),
          application.getOriginalMessage());
    }
    if (cause instanceof TimeoutFailure timeout) {
      String kind = timeout.getTimeoutType().name().replaceFirst("^TIMEOUT_TYPE_", "");
      return new StigmaFailure(TEMPORAL_TIMEOUT, kind, "", "", timeout.getMessage());
    }
    // A retry that does not fit before the deadline ends with the last attempt's own error.
    if (failure.getRetryState() == RetryState.RETRY_STATE_TIMEOUT) {
      return new StigmaFailure(TEMPORAL_TIMEOUT, "SCHEDULE_TO_CLOSE", "", "", failure.getMessage());
    }
    return null;
  }

  static String type(String kind, String outcome) {
    return kind.toUpperCase() + "_EXECUTION_" + outcome;
  }

  private static String text(Object value) {
    return value == null ? "" : value.toString();
  }
}
