package dev.stigma.examples;

import dev.stigma.agent.v1.AgentExecution;
import dev.stigma.agent.v1.AgentExecutionPhase;
import dev.stigma.agent.v1.StartAgentRequest;
import dev.stigma.caller.EventLog;
import dev.stigma.caller.StigmaActivitiesImpl;
import dev.stigma.caller.StigmaClient;
import dev.stigma.caller.StigmaFailure;
import io.grpc.StatusRuntimeException;
import io.temporal.client.WorkflowClient;
import io.temporal.client.WorkflowFailedException;
import io.temporal.client.WorkflowOptions;
import io.temporal.envconfig.ClientConfigProfile;
import io.temporal.failure.CanceledFailure;
import io.temporal.failure.TemporalFailure;
import io.temporal.serviceclient.WorkflowServiceStubs;
import io.temporal.worker.Worker;
import io.temporal.worker.WorkerFactory;
import java.io.IOException;
import java.time.Duration;
import java.time.Instant;
import java.time.format.DateTimeParseException;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.ExecutionException;

/** Callers of Stigma in Java; see README.md. */
public final class Main {
  private static final String USAGE =
      """
      usage: callers EXAMPLE [--flag VALUE ...] TEXT
        single    one agent                              TEXT: its message
        parallel  several agents at once                 TEXT: their message
        wait      a Stigma workflow, with a fallback     TEXT: its input, as JSON
        watch     an agent without any Temporal workflow TEXT: its message
      flags: --agents A,B,C  --workflow NAME  --fallback TEXT  --timeout PT2H  --id ID  --queue NAME
      """;

  private final Map<String, String> flags =
      new HashMap<>(
          Map.of(
              "agents", "style-reviewer",
              "workflow", "shipping",
              "fallback", "\"later\"",
              "timeout", "PT2H",
              "id", "caller-" + UUID.randomUUID(),
              "queue", "java-callers"));
  private final String text;

  private Main(String[] arguments) {
    int next = 1;
    while (next + 1 < arguments.length && arguments[next].startsWith("--")) {
      if (!flags.containsKey(arguments[next].substring(2))) {
        throw new IllegalArgumentException(arguments[next] + " is no flag\n" + USAGE);
      }
      flags.put(arguments[next].substring(2), arguments[next + 1]);
      next += 2;
    }
    text = String.join(" ", Arrays.asList(arguments).subList(next, arguments.length));
  }

  public static void main(String[] arguments) throws Exception {
    String example = arguments.length == 0 ? "" : arguments[0];
    if (!List.of("single", "parallel", "wait", "watch").contains(example)) {
      System.err.print(USAGE);
      System.exit(2);
    }
    int code = 0;
    try (StigmaClient api = StigmaClient.fromEnvironment(Main::traceContext)) {
      Main main = new Main(arguments);
      if (example.equals("watch")) {
        main.watch(api);
      } else {
        main.inWorkflow(example, api);
      }
    } catch (WorkflowFailedException e) {
      System.err.println("error: " + describe(e.getCause()));
      code = 1;
    } catch (StatusRuntimeException
        | ExecutionException
        | IOException
        | DateTimeParseException
        | IllegalArgumentException e) {
      System.err.println("error: " + e.getMessage());
      code = 1;
    }
    System.exit(code);
  }

  /** Serves the examples' workflows, and runs one of them. */
  private void inWorkflow(String example, StigmaClient api) throws Exception {
    ClientConfigProfile profile = ClientConfigProfile.load(); // TEMPORAL_ADDRESS, profiles, …
    WorkflowServiceStubs service =
        WorkflowServiceStubs.newServiceStubs(profile.toWorkflowServiceStubsOptions());
    WorkflowClient temporal =
        WorkflowClient.newInstance(service, profile.toWorkflowClientOptions());
    WorkerFactory factory = WorkerFactory.newInstance(temporal);
    Worker worker = factory.newWorker(flags.get("queue"));
    worker.registerWorkflowImplementationTypes(
        Callers.SingleImpl.class, Callers.ParallelImpl.class, Callers.WithFallbackImpl.class);
    worker.registerActivitiesImplementations(
        new StigmaActivitiesImpl(api, EventLog.jsonLines(System.err)));
    factory.start();
    try {
      run(example, temporal);
    } finally {
      factory.shutdownNow();
      service.shutdownNow();
    }
  }

  private void run(String example, WorkflowClient temporal) {
    WorkflowOptions options =
        WorkflowOptions.newBuilder()
            .setWorkflowId(flags.get("id"))
            .setTaskQueue(flags.get("queue"))
            .build();
    List<String> agents = List.of(flags.get("agents").split(","));
    Duration timeout = Duration.parse(flags.get("timeout"));
    switch (example) {
      case "single" ->
          System.out.println(
              temporal
                  .newWorkflowStub(Callers.Single.class, options)
                  .run(agents.get(0), text, timeout));
      case "parallel" -> {
        List<String> answers =
            temporal.newWorkflowStub(Callers.Parallel.class, options).run(agents, text, timeout);
        for (int i = 0; i < agents.size(); i++) {
          System.out.println(agents.get(i) + ": " + answers.get(i));
        }
      }
      default ->
          System.out.println(
              temporal
                  .newWorkflowStub(Callers.WithFallback.class, options)
                  .run(flags.get("workflow"), text, flags.get("fallback"), timeout));
    }
  }

  /** Needs no Temporal: without a token nobody is called back. */
  private void watch(StigmaClient api) throws InterruptedException, ExecutionException {
    StartAgentRequest request =
        StartAgentRequest.newBuilder()
            .setAgentId(flags.get("agents").split(",")[0])
            .setMessage(text)
            .setRequestId(UUID.randomUUID().toString())
            .build();
    AgentExecution started = api.agents().startAgent(request);
    AgentExecution execution =
        api.watchAgent(
            started.getId(),
            event ->
                System.out.println(
                    Instant.ofEpochSecond(event.getTime().getSeconds())
                        + " "
                        + event.getEventCase().name().toLowerCase(Locale.ROOT)));
    if (execution.getStatus().getPhase()
        != AgentExecutionPhase.AGENT_EXECUTION_PHASE_COMPLETED) {
      String why = execution.getStatus().getFailure().getMessage();
      throw new ExecutionException(execution.getId() + ": " + why, null);
    }
    System.out.println(execution.getStatus().getOutput().getText());
  }

  /**
   * Lets the API go on in the trace of who started this program, by the variable that OpenTelemetry
   * has for it. A program with OpenTelemetry of its own injects its context: see README.md.
   */
  private static Map<String, String> traceContext() {
    String parent = System.getenv("TRACEPARENT");
    return parent == null ? Map.of() : Map.of("traceparent", parent);
  }

  private static String describe(Throwable cause) {
    if (cause instanceof CanceledFailure) {
      return "cancelled";
    }
    if (cause instanceof TemporalFailure thrown) {
      StigmaFailure failure = StigmaFailure.of(thrown);
      if (failure != null) {
        return "%s: %s".formatted(failure.type(), failure.message());
      }
    }
    return String.valueOf(cause);
  }
}
