package greeter;

import dev.stigma.agent.v1.StartAgentRequest;
import dev.stigma.caller.EventLog;
import dev.stigma.caller.Stigma;
import dev.stigma.caller.StigmaActivitiesImpl;
import dev.stigma.caller.StigmaClient;
import io.temporal.client.WorkflowClient;
import io.temporal.client.WorkflowOptions;
import io.temporal.envconfig.ClientConfigProfile;
import io.temporal.serviceclient.WorkflowServiceStubs;
import io.temporal.worker.Worker;
import io.temporal.worker.WorkerFactory;
import io.temporal.workflow.WorkflowInterface;
import io.temporal.workflow.WorkflowMethod;
import java.time.Duration;
import java.util.UUID;

/** A Temporal worker whose workflow asks an agent; the program runs it once. */
public final class Greeter {
  private static final String TASK_QUEUE = "greetings";

  private Greeter() {}

  @WorkflowInterface
  public interface Greet {
    @WorkflowMethod
    String run(String name);
  }

  /** Asks one agent, and holds no worker while it waits. */
  public static final class GreetImpl implements Greet {
    @Override
    public String run(String name) {
      StartAgentRequest request =
          StartAgentRequest.newBuilder().setAgentId("greeter").setMessage("I am " + name).build();
      Stigma.Bounds bounds = new Stigma.Bounds(Duration.ofHours(1));
      return Stigma.runAgent(request, bounds).getStatus().getOutput().getText();
    }
  }

  /** Serves the workflow, and runs it once. */
  public static void main(String[] arguments) throws Exception {
    String name = arguments.length == 0 ? "Grace" : String.join(" ", arguments);
    ClientConfigProfile profile = ClientConfigProfile.load(); // TEMPORAL_ADDRESS, …
    WorkflowServiceStubs service =
        WorkflowServiceStubs.newServiceStubs(profile.toWorkflowServiceStubsOptions());
    WorkflowClient temporal =
        WorkflowClient.newInstance(service, profile.toWorkflowClientOptions());
    WorkerFactory factory = WorkerFactory.newInstance(temporal);
    try (StigmaClient api = StigmaClient.fromEnvironment()) { // STIGMA_API_ADDRESS, …
      Worker worker = factory.newWorker(TASK_QUEUE);
      worker.registerWorkflowImplementationTypes(GreetImpl.class);
      worker.registerActivitiesImplementations(new StigmaActivitiesImpl(api, EventLog.slf4j()));
      factory.start();
      WorkflowOptions options =
          WorkflowOptions.newBuilder()
              .setWorkflowId("greet-" + UUID.randomUUID())
              .setTaskQueue(TASK_QUEUE)
              .build();
      System.out.println(temporal.newWorkflowStub(Greet.class, options).run(name));
    } finally {
      factory.shutdownNow();
      service.shutdownNow();
    }
  }
}
