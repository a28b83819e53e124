package dev.stigma.examples;

import dev.stigma.agent.v1.StartAgentRequest;
import dev.stigma.caller.Stigma;
import dev.stigma.caller.Stigma.Bounds;
import dev.stigma.caller.StigmaFailure;
import dev.stigma.workflow.v1.StartWorkflowRequest;
import io.temporal.failure.TemporalFailure;
import io.temporal.workflow.Async;
import io.temporal.workflow.Promise;
import io.temporal.workflow.WorkflowInterface;
import io.temporal.workflow.WorkflowMethod;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;

/** The examples' workflows. */
public final class Callers {
  private Callers() {}

  /** Asks one agent. A TemporalFailure that nobody catches fails the workflow with its type. */
  @WorkflowInterface
  public interface Single {
    @WorkflowMethod
    String run(String agent, String message, Duration timeout);
  }

  /** Asks several agents at once, and waits for all. Each has a token of its own. */
  @WorkflowInterface
  public interface Parallel {
    @WorkflowMethod
    List<String> run(List<String> agents, String message, Duration timeout);
  }

  /** Waits for a Stigma workflow, and answers without it when it takes too long. */
  @WorkflowInterface
  public interface WithFallback {
    @WorkflowMethod
    String run(String name, String input, String fallback, Duration timeout);
  }

  public static final class SingleImpl implements Single {
    @Override
    public String run(String agent, String message, Duration timeout) {
      return ask(agent, message, timeout);
    }
  }

  public static final class ParallelImpl implements Parallel {
    @Override
    public List<String> run(List<String> agents, String message, Duration timeout) {
      List<Promise<String>> asked = new ArrayList<>();
      for (String agent : agents) {
        asked.add(Async.function(() -> ask(agent, message, timeout)));
      }
      return asked.stream().map(Promise::get).toList();
    }
  }

  public static final class WithFallbackImpl implements WithFallback {
    @Override
    public String run(String name, String input, String fallback, Duration timeout) {
      StartWorkflowRequest request =
          StartWorkflowRequest.newBuilder().setWorkflowId(name).setInputJson(input).build();
      try {
        return Stigma.runWorkflow(request, new Bounds(timeout)).getStatus().getOutput().getJson();
      } catch (TemporalFailure e) {
        StigmaFailure failure = StigmaFailure.of(e);
        if (failure == null) {
          throw e; // our own cancellation: the Stigma workflow is cancelled too
        }
        switch (failure.type()) {
          case StigmaFailure.WORKFLOW_TIMEOUT:
            // Stigma's own answer: the execution is TIMED_OUT and has been stopped.
            return "%s (%s, %s)".formatted(fallback, failure.type(), failure.executionId());
          case StigmaFailure.TEMPORAL_TIMEOUT:
            // Nobody answered in time. The execution is stopped when Stigma is back.
            return "%s (%s, %s)".formatted(fallback, failure.type(), failure.reason());
          default: // WORKFLOW_FAILED, with reason and step; or WORKFLOW_CANCELLED by somebody
            throw e;
        }
      }
    }
  }

  private static String ask(String agent, String message, Duration timeout) {
    StartAgentRequest request =
        StartAgentRequest.newBuilder().setAgentId(agent).setMessage(message).build();
    return Stigma.runAgent(request, new Bounds(timeout)).getStatus().getOutput().getText();
  }
}
