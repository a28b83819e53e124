package main

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/workflow"

	agentv1 "github.com/stigma-dev/stigma/gen/go/stigma/agent/v1"
	workflowv1 "github.com/stigma-dev/stigma/gen/go/stigma/workflow/v1"

	"github.com/stigma-dev/stigma/examples/callers/go/stigma"
)

// Single asks one agent. An error that is returned as it is fails the workflow with Stigma's type,
// for instance AGENT_EXECUTION_FAILED.
func Single(ctx workflow.Context, agent, message string, timeout time.Duration) (string, error) {
	request := &agentv1.StartAgentRequest{AgentId: agent, Message: message}
	execution, err := stigma.RunAgent(ctx, request, stigma.Bounds{Timeout: timeout})
	if err != nil {
		return "", err
	}
	return execution.GetStatus().GetOutput().GetText(), nil
}

// Parallel asks several agents at once, and waits for all. Each has a token of its own.
func Parallel(ctx workflow.Context, agents []string, message string, timeout time.Duration) ([]string, error) {
	answers, failures := make([]string, len(agents)), make([]error, len(agents))
	group := workflow.NewWaitGroup(ctx)
	for number, agent := range agents {
		group.Add(1)
		workflow.Go(ctx, func(ctx workflow.Context) {
			defer group.Done()
			answers[number], failures[number] = Single(ctx, agent, message, timeout)
		})
	}
	group.Wait(ctx)
	for _, err := range failures {
		if err != nil {
			return answers, err
		}
	}
	return answers, nil
}

// WithFallback waits for a Stigma workflow, and answers without it when it takes too long.
func WithFallback(ctx workflow.Context, name, input, fallback string, timeout time.Duration) (string, error) {
	request := &workflowv1.StartWorkflowRequest{WorkflowId: name, InputJson: input}
	execution, err := stigma.RunWorkflow(ctx, request, stigma.Bounds{Timeout: timeout})
	failure := stigma.FailureOf(err)
	switch {
	case err == nil:
		return execution.GetStatus().GetOutput().GetJson(), nil
	case failure == nil:
		return "", err // our own cancellation: the Stigma workflow is cancelled too
	case failure.Type == stigma.WorkflowTimeout:
		// Stigma's own answer: the execution is TIMED_OUT and has been stopped.
		return fmt.Sprintf("%s (%s, %s)", fallback, failure.Type, failure.ExecutionID), nil
	case failure.Type == stigma.TemporalTimeout:
		// Nobody answered in time. The execution, if there is one, is stopped when Stigma is back.
		return fmt.Sprintf("%s (%s, %s)", fallback, failure.Type, failure.Reason), nil
	default: // WorkflowFailed, with failure.Reason and failure.Step; or WorkflowCancelled by somebody
		return "", err
	}
}
