package dev.stigma.caller;

import dev.stigma.agent.v1.AgentExecution;
import dev.stigma.agent.v1.CancelAgentExecutionRequest;
import dev.stigma.agent.v1.StartAgentRequest;
import dev.stigma.workflow.v1.CancelWorkflowExecutionRequest;
import dev.stigma.workflow.v1.StartWorkflowRequest;
import dev.stigma.workflow.v1.WorkflowExecution;
import io.temporal.activity.ActivityInterface;
import io.temporal.activity.ActivityMethod;

/** The activities behind {@link Stigma}: two wait for an execution, two stop one. */
@ActivityInterface
public interface StigmaActivities {
  @ActivityMethod(name = "call_agent")
  AgentExecution callAgent(StartAgentRequest request);

  @ActivityMethod(name = "cancel_agent")
  void cancelAgent(CancelAgentExecutionRequest request);

  @ActivityMethod(name = "call_workflow")
  WorkflowExecution callWorkflow(StartWorkflowRequest request);

  @ActivityMethod(name = "cancel_workflow")
  void cancelWorkflow(CancelWorkflowExecutionRequest request);
}
