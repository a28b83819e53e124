package stigma

import (
	"time"

	"github.com/google/uuid"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/protobuf/proto"

	agentv1 "github.com/stigma-dev/stigma/gen/go/stigma/agent/v1"
	workflowv1 "github.com/stigma-dev/stigma/gen/go/stigma/workflow/v1"
)

// Bounds of a call. Zero values are the defaults.
type Bounds struct {
	// Timeout is how long the execution may take, outages of workers included: 24 h by default.
	// Give twice what you expect.
	Timeout time.Duration
	// HeartbeatTimeout is how late the loss of this worker (while it asks), or of the execution, is
	// noticed: 5 min by default. Stigma sends the heartbeats.
	HeartbeatTimeout time.Duration
}

// RunAgent runs an agent and waits for its outcome. Cancelling ctx cancels the agent. Errors: see
// FailureOf. The request's token, caller and deadline are filled in by the activity; an empty
// request id gets one that is the same over retries and replays.
func RunAgent(ctx workflow.Context, request *agentv1.StartAgentRequest, bounds Bounds) (*agentv1.AgentExecution, error) {
	request = proto.CloneOf(request)
	unique := drawID(ctx)
	if request.RequestId == "" {
		request.RequestId = unique
	}
	execution := &agentv1.AgentExecution{}
	err := run(ctx, "agent", unique, request, execution, bounds, &agentv1.CancelAgentExecutionRequest{
		RequestId: request.RequestId,
		Namespace: workflow.GetInfo(ctx).Namespace,
		Reason:    "the calling workflow was cancelled",
	})
	return execution, err
}

// RunWorkflow is RunAgent for a Stigma workflow.
func RunWorkflow(ctx workflow.Context, request *workflowv1.StartWorkflowRequest, bounds Bounds) (*workflowv1.WorkflowExecution, error) {
	request = proto.CloneOf(request)
	unique := drawID(ctx)
	if request.RequestId == "" {
		request.RequestId = unique
	}
	execution := &workflowv1.WorkflowExecution{}
	err := run(ctx, "workflow", unique, request, execution, bounds, &workflowv1.CancelWorkflowExecutionRequest{
		RequestId: request.RequestId,
		Namespace: workflow.GetInfo(ctx).Namespace,
		Reason:    "the calling workflow was cancelled",
	})
	return execution, err
}

func run(ctx workflow.Context, kind, unique string, request, execution proto.Message, bounds Bounds, cancel proto.Message) error {
	if bounds.Timeout == 0 {
		bounds.Timeout = 24 * time.Hour
	}
	if bounds.HeartbeatTimeout == 0 {
		bounds.HeartbeatTimeout = 5 * time.Minute
	}
	// A margin, so that Stigma's own outcome arrives before Temporal's timeout.
	bound := bounds.Timeout + min(bounds.Timeout, 30*time.Second)
	call := workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		ActivityID:             kind + "-" + unique,
		ScheduleToCloseTimeout: bound,
		StartToCloseTimeout:    bound,
		HeartbeatTimeout:       bounds.HeartbeatTimeout,
		// Every attempt has a token of its own and starts are idempotent: retrying is safe. Not
		// retrying would turn each deployment of your workers into failed calls.
		RetryPolicy: &temporal.RetryPolicy{InitialInterval: time.Second, MaximumInterval: 30 * time.Second},
	})
	err := workflow.ExecuteActivity(call, "call_"+kind, request).Get(ctx, execution)
	if temporal.IsCanceledError(err) {
		stop(ctx, kind, cancel)
	}
	return err
}

// stop cancels the execution. Cancelling the activity alone would not do: no code of it runs any
// more. If this fails, Stigma notices within the heartbeat timeout that nobody waits.
func stop(ctx workflow.Context, kind string, cancel proto.Message) {
	ctx, done := workflow.NewDisconnectedContext(ctx)
	defer done()
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		ScheduleToCloseTimeout: 30 * time.Second,
		StartToCloseTimeout:    16 * time.Second,
		RetryPolicy:            &temporal.RetryPolicy{InitialInterval: 500 * time.Millisecond, MaximumInterval: 5 * time.Second},
	})
	if err := workflow.ExecuteActivity(ctx, "cancel_"+kind, cancel).Get(ctx, nil); err != nil {
		workflow.GetLogger(ctx).Warn("cancel_failed", "error", err.Error())
	}
}

// drawID is recorded in the workflow's history: the same over replays, new for another call.
func drawID(ctx workflow.Context) string {
	var id string
	drawn := workflow.SideEffect(ctx, func(workflow.Context) any { return uuid.NewString() })
	if err := drawn.Get(&id); err != nil {
		panic(err) // not what was recorded: the workflow's code has changed under it
	}
	return id
}
