package dev.stigma.examples;

import com.fasterxml.jackson.annotation.JsonProperty;
import io.temporal.activity.ActivityInterface;
import io.temporal.activity.ActivityMethod;
import io.temporal.client.WorkflowClient;
import io.temporal.envconfig.ClientConfigProfile;
import io.temporal.failure.ApplicationFailure;
import io.temporal.serviceclient.WorkflowServiceStubs;
import io.temporal.worker.Worker;
import io.temporal.worker.WorkerFactory;
import java.util.HashMap;
import java.util.Map;

/**
 * A worker of an order desk, as in examples/order-desk: two activities, as any Temporal worker has
 * them. It holds no line of Stigma's, whose agents call them as tools. The argument of each is the
 * object that the model gives.
 */
public final class OrderDesk {
  public record Order(
      @JsonProperty("number") String number,
      @JsonProperty("status") String status,
      @JsonProperty("cents") int cents) {}

  public record FindArguments(@JsonProperty("number") String number) {}

  /** The key is Stigma's: it is the same for each attempt of a call. */
  public record RefundArguments(
      @JsonProperty("number") String number,
      @JsonProperty("cents") int cents,
      @JsonProperty("key") String key) {}

  @ActivityInterface
  public interface Desk {
    @ActivityMethod(name = "FindOrder")
    Order findOrder(FindArguments arguments);

    @ActivityMethod(name = "RefundOrder")
    String refundOrder(RefundArguments arguments);
  }

  /** Keeps orders and refunds in memory; a real one would ask its database. */
  public static final class DeskImpl implements Desk {
    private final Map<String, Order> orders = Map.of("A-7", new Order("A-7", "lost", 4200));
    private final Map<String, String> refunds = new HashMap<>();

    @Override
    public Order findOrder(FindArguments arguments) {
      Order order = orders.get(arguments.number());
      if (order == null) {
        throw ApplicationFailure.newNonRetryableFailure(
            "there is no order " + arguments.number(), "NoSuchOrder");
      }
      return order;
    }

    /** Refunds an order once, however often it is called with the same key. */
    @Override
    public synchronized String refundOrder(RefundArguments arguments) {
      return refunds.computeIfAbsent(
          arguments.key(),
          key ->
              "receipt %d: %d cents for %s"
                  .formatted(refunds.size() + 1, arguments.cents(), arguments.number()));
    }
  }

  public static void main(String[] arguments) throws Exception {
    ClientConfigProfile profile = ClientConfigProfile.load(); // TEMPORAL_ADDRESS, profiles, …
    WorkflowServiceStubs service =
        WorkflowServiceStubs.newServiceStubs(profile.toWorkflowServiceStubsOptions());
    WorkflowClient temporal =
        WorkflowClient.newInstance(service, profile.toWorkflowClientOptions());
    WorkerFactory factory = WorkerFactory.newInstance(temporal);
    Worker worker = factory.newWorker(arguments.length > 0 ? arguments[0] : "order-desk");
    worker.registerActivitiesImplementations(new DeskImpl());
    factory.start();
  }
}
