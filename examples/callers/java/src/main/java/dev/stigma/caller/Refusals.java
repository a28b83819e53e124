package dev.stigma.caller;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.RetryInfo;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import io.temporal.failure.ApplicationFailure;
import java.time.Duration;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;

/** What an RPC's error means to the activity: what may pass is retried, an answer is not. */
final class Refusals {
  private static final Set<Status.Code> TRANSIENT =
      EnumSet.of(
          Status.Code.ABORTED,
          Status.Code.CANCELLED,
          Status.Code.DEADLINE_EXCEEDED,
          Status.Code.INTERNAL,
          Status.Code.RESOURCE_EXHAUSTED,
          Status.Code.UNAVAILABLE,
          Status.Code.UNKNOWN);

  private Refusals() {}

  static ApplicationFailure failure(StatusRuntimeException error, String kind, String step) {
    String code = error.getStatus().getCode().name();
    boolean passes = TRANSIENT.contains(error.getStatus().getCode());
    StringBuilder message = new StringBuilder(code).append(": ");
    message.append(Objects.requireNonNullElse(error.getStatus().getDescription(), ""));
    List<Map<String, String>> violations = new ArrayList<>();
    Duration delay = null;
    com.google.rpc.Status rich = StatusProto.fromThrowable(error);
    try {
      for (Any detail : rich == null ? List.<Any>of() : rich.getDetailsList()) {
        if (detail.is(RetryInfo.class)) {
          com.google.protobuf.Duration asked = detail.unpack(RetryInfo.class).getRetryDelay();
          delay = Duration.ofSeconds(asked.getSeconds(), asked.getNanos());
        } else if (detail.is(BadRequest.class)) {
          for (BadRequest.FieldViolation each :
              detail.unpack(BadRequest.class).getFieldViolationsList()) {
            message.append("; ").append(each.getField()).append(": ").append(each.getDescription());
            violations.add(Map.of("field", each.getField(), "description", each.getDescription()));
          }
        }
      }
    } catch (InvalidProtocolBufferException e) {
      message.append("; its details are malformed");
    }
    message.append(" (at ").append(step).append(")");
    ApplicationFailure.Builder failure =
        ApplicationFailure.newBuilder().setMessage(message.toString());
    if (passes) {
      return failure.setType(code).setNextRetryDelay(delay).build();
    }
    Map<String, Object> details = new LinkedHashMap<>(Map.of("reason", code, "step", step));
    if (!violations.isEmpty()) {
      details.put("field_violations", violations);
    }
    return failure
        .setType(StigmaFailure.type(kind, "FAILED"))
        .setNonRetryable(true)
        .setDetails(details)
        .build();
  }
}
