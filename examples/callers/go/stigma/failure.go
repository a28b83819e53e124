package stigma

import (
	"encoding/json"
	"errors"
	"strings"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"google.golang.org/grpc/codes"

	agentv1 "github.com/stigma-dev/stigma/gen/go/stigma/agent/v1"
)

// Types of a Failure. The first six are Stigma's, on the wire too.
const (
	AgentFailed       = "AGENT_EXECUTION_FAILED"
	AgentTimeout      = "AGENT_EXECUTION_TIMEOUT"
	AgentCancelled    = "AGENT_EXECUTION_CANCELLED" // through the API; not the caller's own cancellation
	WorkflowFailed    = "WORKFLOW_EXECUTION_FAILED"
	WorkflowTimeout   = "WORKFLOW_EXECUTION_TIMEOUT"
	WorkflowCancelled = "WORKFLOW_EXECUTION_CANCELLED"
	TemporalTimeout   = "TEMPORAL_TIMEOUT" // Temporal's own: nobody answered before schedule-to-close
)

// Failure is why a call did not complete.
type Failure struct {
	Type        string
	Reason      string // "STEP_LIMIT", …; or the gRPC code that refused the start; or a timeout's type
	Step        string // "model_call 2", …; "start_agent" when nothing was started
	ExecutionID string // empty when nothing is known of an execution
	Message     string
}

// TimedOut is true for both kinds of timeout: Stigma's own comes first, Temporal's when Stigma
// could not tell.
func (f *Failure) TimedOut() bool {
	return f.Type == AgentTimeout || f.Type == WorkflowTimeout || f.Type == TemporalTimeout
}

// FailureOf reads the error of RunAgent or RunWorkflow, or one that wraps it; nil when it is none,
// or a cancellation of the caller itself. Return that error from your workflow and its type stays
// what it is.
func FailureOf(err error) *Failure {
	var application *temporal.ApplicationError
	if errors.As(err, &application) && isOurs(application.Type()) {
		failure := &Failure{Type: application.Type(), Message: application.Message()}
		var known details
		if application.HasDetails() && application.Details(&known) == nil {
			failure.Reason, failure.Step = known.Reason, known.Step
			var execution struct {
				ID string `json:"id"`
			}
			if json.Unmarshal(known.Execution, &execution) == nil {
				failure.ExecutionID = execution.ID
			}
		}
		return failure
	}
	var timeout *temporal.TimeoutError
	if errors.As(err, &timeout) {
		return &Failure{Type: TemporalTimeout, Reason: timeout.TimeoutType().String(), Message: timeout.Error()}
	}
	// A retry that does not fit before the deadline ends with the last attempt's own error.
	var activity *temporal.ActivityError
	if errors.As(err, &activity) && activity.RetryState() == enumspb.RETRY_STATE_TIMEOUT {
		return &Failure{Type: TemporalTimeout, Reason: "ScheduleToClose", Message: activity.Error()}
	}
	return nil
}

// details are the detail of Stigma's failures.
type details struct {
	Reason          string          `json:"reason"`
	Step            string          `json:"step"`
	FieldViolations []violation     `json:"field_violations,omitempty"`
	Execution       json.RawMessage `json:"execution,omitempty"`
}

type violation struct {
	Field       string `json:"field"`
	Description string `json:"description"`
}

func isOurs(errorType string) bool {
	switch errorType {
	case AgentFailed, AgentTimeout, AgentCancelled, WorkflowFailed, WorkflowTimeout, WorkflowCancelled:
		return true
	}
	return false
}

// failed is the error of a call for which there is no execution to tell of.
func failed(kind, reason, step, message string, cause error) error {
	return temporal.NewNonRetryableApplicationError(
		reason+": "+message+" (at "+step+")", errorType(kind, "FAILED"), cause, details{Reason: reason, Step: step})
}

func errorType(kind, outcome string) string {
	return strings.ToUpper(kind) + "_EXECUTION_" + outcome
}

func reasonName(reason agentv1.FailureReason) string {
	return strings.TrimPrefix(reason.String(), "FAILURE_REASON_")
}

// codeName is a gRPC code as everybody else writes it: INVALID_ARGUMENT.
func codeName(code codes.Code) string {
	names := map[codes.Code]string{
		codes.Canceled: "CANCELLED", codes.Unknown: "UNKNOWN", codes.InvalidArgument: "INVALID_ARGUMENT",
		codes.DeadlineExceeded: "DEADLINE_EXCEEDED", codes.NotFound: "NOT_FOUND",
		codes.AlreadyExists: "ALREADY_EXISTS", codes.PermissionDenied: "PERMISSION_DENIED",
		codes.ResourceExhausted: "RESOURCE_EXHAUSTED", codes.FailedPrecondition: "FAILED_PRECONDITION",
		codes.Aborted: "ABORTED", codes.OutOfRange: "OUT_OF_RANGE", codes.Unimplemented: "UNIMPLEMENTED",
		codes.Internal: "INTERNAL", codes.Unavailable: "UNAVAILABLE", codes.DataLoss: "DATA_LOSS",
		codes.Unauthenticated: "UNAUTHENTICATED",
	}
	return names[code]
}
