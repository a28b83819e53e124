package stigma

import (
	"fmt"
	"time"

	"github.com/google/uuid"
	sdklog "go.temporal.io/sdk/log"
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
	asked := call{"agent", request.AgentId, unique, request, execution, &agentv1.CancelAgentExecutionRequest{
		RequestId: request.RequestId,
		Namespace: workflow.GetInfo(ctx).Namespace,
		Reason:    callerCancelled,
	}}
	if err := asked.outcome(ctx, bounds); err != nil {
		return nil, err
	}
	return execution, nil
}

// RunWorkflow is RunAgent for a Stigma workflow.
func RunWorkflow(ctx workflow.Context, request *workflowv1.StartWorkflowRequest, bounds Bounds) (*workflowv1.WorkflowExecution, error) {
	request = proto.CloneOf(request)
	unique := drawID(ctx)
	if request.RequestId == "" {
		request.RequestId = unique
	}
	execution := &workflowv1.WorkflowExecution{}
	asked := call{"workflow", request.WorkflowId, unique, request, execution, &workflowv1.CancelWorkflowExecutionRequest{
		RequestId: request.RequestId,
		Namespace: workflow.GetInfo(ctx).Namespace,
		Reason:    callerCancelled,
	}}
	if err := asked.outcome(ctx, bounds); err != nil {
		return nil, err
	}
	return execution, nil
}

const (
	callerCancelled = "the calling workflow was cancelled"
	// Temporal refuses more than 2 MiB, and some refusals terminate the workflow.
	maxRequestBytes = 3 << 19
)

// call is one call of an agent or of a Stigma workflow.
type call struct {
	kind, name string
	unique     string // differs between all calls of a run
	request    interface {
		proto.Message
		GetRequestId() string
	}
	execution interface { // what the call comes to
		proto.Message
		GetId() string
	}
	cancel proto.Message
}

func (c call) outcome(ctx workflow.Context, bounds Bounds) error {
	if err := ctx.Err(); err != nil {
		return err // there is nothing to stop yet
	}
	if bounds.Timeout == 0 {
		bounds.Timeout = 24 * time.Hour
	}
	if bounds.HeartbeatTimeout == 0 {
		bounds.HeartbeatTimeout = 5 * time.Minute
	}
	if bounds.Timeout < 0 || bounds.HeartbeatTimeout < 0 {
		return failed(c.kind, "INVALID_ARGUMENT", "start_"+c.kind, "Timeout and HeartbeatTimeout must be positive", nil)
	}
	if size := proto.Size(c.request); size > maxRequestBytes {
		message := fmt.Sprintf("request is %d bytes; the limit is %d", size, maxRequestBytes)
		return failed(c.kind, "TOO_LARGE", "start_"+c.kind, message, nil)
	}
	// A margin, so that Stigma's own outcome arrives before Temporal's timeout.
	bound := bounds.Timeout + min(bounds.Timeout, 30*time.Second)
	asking := workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		ActivityID:             c.kind + "-" + c.unique,
		ScheduleToCloseTimeout: bound,
		StartToCloseTimeout:    bound,
		HeartbeatTimeout:       bounds.HeartbeatTimeout,
		// Every attempt has a token of its own and starts are idempotent: retrying is safe. Not
		// retrying would turn each deployment of your workers into failed calls.
		RetryPolicy: &temporal.RetryPolicy{InitialInterval: time.Second, MaximumInterval: 30 * time.Second},
		Summary:     c.name,
	})
	err := workflow.ExecuteActivity(asking, "call_"+c.kind, c.request).Get(ctx, c.execution)
	if temporal.IsCanceledError(err) {
		c.stop(ctx)
		return err
	}
	log := sdklog.With(workflow.GetLogger(ctx), "request_id", c.request.GetRequestId())
	if err == nil {
		log.Info("resumed", "execution_id", c.execution.GetId())
		return nil
	}
	failure := FailureOf(err)
	if failure == nil { // no outcome that Stigma delivers
		err = failed(c.kind, "INTERNAL", "", "the calling activity failed", err)
		failure = FailureOf(err)
	}
	log.Info("resumed", "execution_id", failure.ExecutionID, "error", failure.Type)
	return err
}

// stop cancels the execution. Cancelling the activity alone would not do: no code of it runs any
// more. If this fails, Stigma notices within the heartbeat timeout that nobody waits.
func (c call) stop(ctx workflow.Context) {
	ctx, done := workflow.NewDisconnectedContext(ctx)
	defer done()
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		ScheduleToCloseTimeout: 30 * time.Second,
		StartToCloseTimeout:    16 * time.Second,
		RetryPolicy:            &temporal.RetryPolicy{InitialInterval: 500 * time.Millisecond, MaximumInterval: 5 * time.Second},
	})
	if err := workflow.ExecuteActivity(ctx, "cancel_"+c.kind, c.cancel).Get(ctx, nil); err != nil {
		workflow.GetLogger(ctx).Warn("cancel_failed", "request_id", c.request.GetRequestId(), "reason", err.Error())
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
