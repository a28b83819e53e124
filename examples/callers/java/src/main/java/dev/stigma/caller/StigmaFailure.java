package dev.stigma.caller;

import io.temporal.api.enums.v1.RetryState;
import io.temporal.common.converter.DataConverterException;
import io.temporal.failure.ActivityFailure;
import io.temporal.failure.ApplicationFailure;
import io.temporal.failure.TemporalFailure;
import io.temporal.failure.TimeoutFailure;
import java.util.Locale;
import java.util.Map;
import java.util.Set;

/**
 * Why a call of {@link Stigma} did not complete. Rethrow the TemporalFailure from your workflow and
 * its type stays what it is.
 *
 * @param type one of the constants below
 * @param reason "STEP_LIMIT", …; or the gRPC code that refused the start; or a timeout's type
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

  private static final Set<String> OURS =
      Set.of(
          AGENT_FAILED,
          AGENT_TIMEOUT,
          AGENT_CANCELLED,
          WORKFLOW_FAILED,
          WORKFLOW_TIMEOUT,
          WORKFLOW_CANCELLED);

  /** Both kinds of timeout: Stigma's own comes first, Temporal's when Stigma could not tell. */
  public boolean timedOut() {
    return type.endsWith("_TIMEOUT");
  }

  /**
   * Reads what a call threw, or a failure that it caused; null when it is none of a call, or when
   * the call was cancelled by its own workflow.
   */
  public static StigmaFailure of(TemporalFailure failure) {
    ApplicationFailure application = find(ApplicationFailure.class, failure);
    if (application != null && OURS.contains(application.getType())) {
      return of(application);
    }
    TimeoutFailure timeout = find(TimeoutFailure.class, failure);
    if (timeout != null) {
      String kind = timeout.getTimeoutType().name().replaceFirst("^TIMEOUT_TYPE_", "");
      return new StigmaFailure(TEMPORAL_TIMEOUT, kind, "", "", timeout.getMessage());
    }
    // A retry that does not fit before the deadline ends with the last attempt's own error.
    ActivityFailure activity = find(ActivityFailure.class, failure);
    if (activity != null && activity.getRetryState() == RetryState.RETRY_STATE_TIMEOUT) {
      return new StigmaFailure(
          TEMPORAL_TIMEOUT, "SCHEDULE_TO_CLOSE", "", "", activity.getMessage());
    }
    return null;
  }

  /** The outermost failure of a type, or null. */
  private static <T> T find(Class<T> type, Throwable failure) {
    Throwable cause = failure;
    while (cause != null && !type.isInstance(cause)) {
      cause = cause.getCause();
    }
    return type.cast(cause);
  }

  private static StigmaFailure of(ApplicationFailure application) {
    Map<?, ?> details = Map.of();
    try {
      if (application.getDetails().getSize() > 0) {
        details = application.getDetails().get(Map.class);
      }
    } catch (DataConverterException e) {
      // Not written by Stigma: the type and the message have to do.
    }
    Object id = details.get("execution") instanceof Map<?, ?> execution ? execution.get("id") : "";
    return new StigmaFailure(
        application.getType(),
        text(details.get("reason")),
        text(details.get("step")),
        text(id),
        application.getOriginalMessage());
  }

  /** The failure of a call for which there is no execution to tell of. */
  static ApplicationFailure failed(
      String kind, String reason, String step, String message, Throwable cause) {
    return ApplicationFailure.newBuilder()
        .setType(type(kind, "FAILED"))
        .setNonRetryable(true)
        .setMessage("%s: %s (at %s)".formatted(reason, message, step))
        .setCause(cause)
        .setDetails(Map.of("reason", reason, "step", step))
        .build();
  }

  static String type(String kind, String outcome) {
    return kind.toUpperCase(Locale.ROOT) + "_EXECUTION_" + outcome;
  }

  private static String text(Object value) {
    return value == null ? "" : value.toString();
  }
}
