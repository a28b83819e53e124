package stigma

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/stigma-dev/stigma/gen/go/stigma/agent/v1"
	workflowv1 "github.com/stigma-dev/stigma/gen/go/stigma/workflow/v1"
)

const (
	// Of one RPC: Temporal retries the activity, so a lost reply costs seconds, not the call.
	rpcTimeout = 10 * time.Second
	// A cancellation may overtake the start it is about: so long, "not found" means "not yet".
	overtaking = 5 * time.Second
)

// Register adds the activities behind RunAgent and RunWorkflow to a worker.
func (c *Client) Register(registry worker.ActivityRegistry) {
	for name, function := range map[string]any{
		"call_agent": c.CallAgent, "cancel_agent": c.CancelAgent,
		"call_workflow": c.CallWorkflow, "cancel_workflow": c.CancelWorkflow,
	} {
		registry.RegisterActivityWithOptions(function, activity.RegisterOptions{Name: name})
	}
}

// CallAgent is the activity that starts an agent and stays pending: it hands its task token to
// Stigma, which completes it with the outcome. No worker is held meanwhile.
func (c *Client) CallAgent(ctx context.Context, request *agentv1.StartAgentRequest) (*agentv1.AgentExecution, error) {
	info := activity.GetInfo(ctx)
	request.CallbackToken, request.Caller, request.CallbackDeadline = info.TaskToken, callerOf(info), deadlineOf(info)
	var execution *agentv1.AgentExecution
	err := c.handOff(ctx, "agent", request.AgentId, request.RequestId, func(ctx context.Context) (state, error) {
		var err error
		execution, err = c.Agents.StartAgent(ctx, request)
		return state{execution, execution.GetId(), execution.GetStatus().GetPhase(), execution.GetStatus().GetFailure()}, err
	})
	return execution, err
}

// CallWorkflow is CallAgent for a Stigma workflow.
func (c *Client) CallWorkflow(ctx context.Context, request *workflowv1.StartWorkflowRequest) (*workflowv1.WorkflowExecution, error) {
	info := activity.GetInfo(ctx)
	request.CallbackToken, request.Caller, request.CallbackDeadline = info.TaskToken, callerOf(info), deadlineOf(info)
	var execution *workflowv1.WorkflowExecution
	err := c.handOff(ctx, "workflow", request.WorkflowId, request.RequestId, func(ctx context.Context) (state, error) {
		var err error
		execution, err = c.Workflows.StartWorkflow(ctx, request)
		// The phases of both kinds have the same numbers.
		phase := agentv1.AgentExecutionPhase(execution.GetStatus().GetPhase())
		return state{execution, execution.GetId(), phase, execution.GetStatus().GetFailure()}, err
	})
	return execution, err
}

// CancelAgent is the activity that stops an agent, by its request id.
func (c *Client) CancelAgent(ctx context.Context, request *agentv1.CancelAgentExecutionRequest) error {
	return cancel(ctx, "agent", func(ctx context.Context) error {
		_, err := c.Agents.CancelAgentExecution(ctx, request)
		return err
	})
}

// CancelWorkflow is the activity that stops a Stigma workflow, by its request id.
func (c *Client) CancelWorkflow(ctx context.Context, request *workflowv1.CancelWorkflowExecutionRequest) error {
	return cancel(ctx, "workflow", func(ctx context.Context) error {
		_, err := c.Workflows.CancelWorkflowExecution(ctx, request)
		return err
	})
}

// Fingerprint is what stands for a token in every log: never log the token itself.
func Fingerprint(token []byte) string {
	sum := sha256.Sum256(token)
	return hex.EncodeToString(sum[:])[:12]
}

// state is what an execution of either kind has.
type state struct {
	message proto.Message
	id      string
	phase   agentv1.AgentExecutionPhase
	failure *agentv1.Failure
}

func (c *Client) handOff(ctx context.Context, kind, name, requestID string, start func(context.Context) (state, error)) error {
	info := activity.GetInfo(ctx)
	log := c.events.With(
		"request_id", requestID, kind, name,
		"callback_fingerprint", Fingerprint(info.TaskToken), "token_length", len(info.TaskToken),
		"workflow_id", info.WorkflowExecution.ID, "run_id", info.WorkflowExecution.RunID,
		"activity_id", info.ActivityID, "attempt", info.Attempt,
	)
	log.InfoContext(ctx, "token_taken")
	if len(info.TaskToken) == 0 {
		return failed(kind, "INVALID_ARGUMENT", "start_"+kind, "this activity has no task token, so nobody could complete it", nil)
	}
	log.InfoContext(ctx, "start_requested")
	rpc, done := context.WithTimeout(ctx, rpcTimeout)
	defer done()
	started, err := start(rpc)
	if err != nil {
		return refusal(err, kind, "start_"+kind)
	}
	log = log.With(slog.String("execution_id", started.id))
	log.InfoContext(ctx, "acknowledged")
	switch started.phase {
	case agentv1.AgentExecutionPhase_AGENT_EXECUTION_PHASE_COMPLETED:
		return nil // before this attempt: its result is ours
	case agentv1.AgentExecutionPhase_AGENT_EXECUTION_PHASE_FAILED:
		return ended(started, kind, "FAILED")
	case agentv1.AgentExecutionPhase_AGENT_EXECUTION_PHASE_CANCELLED:
		return ended(started, kind, "CANCELLED")
	case agentv1.AgentExecutionPhase_AGENT_EXECUTION_PHASE_TIMED_OUT:
		return ended(started, kind, "TIMEOUT")
	}
	log.InfoContext(ctx, "pending")
	return activity.ErrResultPending
}

func callerOf(info activity.Info) *agentv1.TemporalCaller {
	caller := &agentv1.TemporalCaller{
		Namespace:  info.Namespace,
		WorkflowId: info.WorkflowExecution.ID,
		RunId:      info.WorkflowExecution.RunID,
		ActivityId: info.ActivityID,
	}
	if info.HeartbeatTimeout > 0 {
		caller.HeartbeatTimeout = durationpb.New(info.HeartbeatTimeout)
	}
	if deadline := deadlineOf(info); deadline != nil {
		// Both of Temporal's clock: neither this machine's nor the API's need agree with it.
		caller.CallbackTimeout = durationpb.New(deadline.AsTime().Sub(info.StartedTime))
	}
	return caller
}

func deadlineOf(info activity.Info) *timestamppb.Timestamp {
	if info.ScheduleToCloseTimeout == 0 {
		return nil
	}
	return timestamppb.New(info.ScheduledTime.Add(info.ScheduleToCloseTimeout))
}

// ended is the failure of an execution that was over before this attempt.
func ended(execution state, kind, outcome string) error {
	told := details{Reason: reasonName(execution.failure.GetReason()), Step: execution.failure.GetStep()}
	if text, err := protojson.Marshal(execution.message); err == nil {
		told.Execution = text
	}
	message := fmt.Sprintf("%s: %s", told.Reason, execution.failure.GetMessage())
	if step := execution.failure.GetStep(); step != "" {
		message += " (at " + step + ")"
	}
	return temporal.NewNonRetryableApplicationError(message, errorType(kind, outcome), nil, told)
}

// refusal is what an RPC's error means to the activity: what may pass is retried, an answer is not.
func refusal(err error, kind, step string) error {
	answer := status.Convert(err)
	switch code := answer.Code(); code {
	case codes.Aborted, codes.Canceled, codes.DeadlineExceeded, codes.Internal, codes.ResourceExhausted, codes.Unavailable, codes.Unknown:
		options := temporal.ApplicationErrorOptions{}
		for _, detail := range answer.Details() {
			if info, ok := detail.(*errdetails.RetryInfo); ok {
				options.NextRetryDelay = info.GetRetryDelay().AsDuration()
			}
		}
		return temporal.NewApplicationErrorWithOptions(fmt.Sprintf("%s: %s (at %s)", codeName(code), answer.Message(), step), codeName(code), options)
	default:
		message := fmt.Sprintf("%s: %s", codeName(code), answer.Message())
		told := details{Reason: codeName(code), Step: step}
		for _, detail := range answer.Details() {
			if bad, ok := detail.(*errdetails.BadRequest); ok {
				for _, each := range bad.GetFieldViolations() {
					message += fmt.Sprintf("; %s: %s", each.GetField(), each.GetDescription())
					told.FieldViolations = append(told.FieldViolations, violation{each.GetField(), each.GetDescription()})
				}
			}
		}
		return temporal.NewNonRetryableApplicationError(message+" (at "+step+")", errorType(kind, "FAILED"), nil, told)
	}
}

func cancel(ctx context.Context, kind string, ask func(context.Context) error) error {
	giveUp := time.Now().Add(overtaking)
	for {
		rpc, done := context.WithTimeout(ctx, rpcTimeout)
		err := ask(rpc)
		done()
		if err == nil {
			return nil
		}
		if status.Code(err) != codes.NotFound || time.Now().After(giveUp) {
			return refusal(err, kind, "cancel_"+kind)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(250 * time.Millisecond):
		}
	}
}
