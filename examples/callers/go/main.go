// Callers of Stigma in Go: `go run . single|parallel|wait|watch`, see README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"

	agentv1 "github.com/stigma-dev/stigma/gen/go/stigma/agent/v1"

	"github.com/stigma-dev/stigma/examples/callers/go/stigma"
)

const usage = `usage: callers EXAMPLE [flags] TEXT
  single    one agent                              TEXT: its message
  parallel  several agents at once                 TEXT: their message
  wait      a Stigma workflow, with a fallback     TEXT: its input, as JSON
  watch     an agent without any Temporal workflow TEXT: its message
`

type options struct {
	agents, workflow, fallback, id, queue string
	timeout                               time.Duration
	text                                  string
}

func main() {
	ctx, done := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer done()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", describe(err))
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	if len(arguments) == 0 {
		return errors.New(usage)
	}
	flags := flag.NewFlagSet(arguments[0], flag.ContinueOnError)
	var o options
	flags.StringVar(&o.agents, "agents", "style-reviewer", "agents to ask, by commas")
	flags.StringVar(&o.workflow, "workflow", "shipping", "Stigma workflow to run")
	flags.StringVar(&o.fallback, "fallback", `"later"`, "answer when the workflow takes too long")
	flags.DurationVar(&o.timeout, "timeout", 2*time.Hour, "how long an execution may take")
	flags.StringVar(&o.id, "id", "caller-"+uuid.NewString(), "id of our own workflow")
	flags.StringVar(&o.queue, "queue", "go-callers", "task queue of our own worker")
	if err := flags.Parse(arguments[1:]); err != nil {
		return err
	}
	o.text = strings.Join(flags.Args(), " ")

	logs := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{ReplaceAttr: asEvent}))
	config, err := stigma.ConfigFromEnvironment()
	if err != nil {
		return err
	}
	config.Events = logs
	config.Metadata = traceContext
	api, err := stigma.NewClient(config)
	if err != nil {
		return err
	}
	defer api.Close()
	if arguments[0] == "watch" {
		return watch(ctx, api, o)
	}
	return inWorkflow(ctx, arguments[0], api, o, logs)
}

// inWorkflow serves the examples' workflows, and runs one of them.
func inWorkflow(ctx context.Context, example string, api *stigma.Client, o options, logs *slog.Logger) error {
	settings, err := envconfig.LoadDefaultClientOptions() // TEMPORAL_ADDRESS, profiles, …
	if err != nil {
		return err
	}
	settings.Logger = log.NewStructuredLogger(logs)
	temporalClient, err := client.Dial(settings)
	if err != nil {
		return err
	}
	defer temporalClient.Close()
	ours := worker.New(temporalClient, o.queue, worker.Options{})
	ours.RegisterWorkflow(Single)
	ours.RegisterWorkflow(Parallel)
	ours.RegisterWorkflow(WithFallback)
	api.Register(ours)
	if err := ours.Start(); err != nil {
		return err
	}
	defer ours.Stop()

	agents := strings.Split(o.agents, ",")
	start := client.StartWorkflowOptions{ID: o.id, TaskQueue: o.queue}
	var called client.WorkflowRun
	switch example {
	case "single":
		called, err = temporalClient.ExecuteWorkflow(ctx, start, Single, agents[0], o.text, o.timeout)
	case "parallel":
		called, err = temporalClient.ExecuteWorkflow(ctx, start, Parallel, agents, o.text, o.timeout)
	case "wait":
		called, err = temporalClient.ExecuteWorkflow(ctx, start, WithFallback, o.workflow, o.text, o.fallback, o.timeout)
	default:
		return errors.New(usage)
	}
	if err != nil {
		return err
	}
	if example == "parallel" {
		var answers []string
		err = called.Get(ctx, &answers)
		for number, answer := range answers {
			fmt.Printf("%s: %s\n", agents[number], answer)
		}
		return err
	}
	var answer string
	if err := called.Get(ctx, &answer); err != nil {
		return err
	}
	fmt.Println(answer)
	return nil
}

// watch needs no Temporal: without a token nobody is called back.
func watch(ctx context.Context, api *stigma.Client, o options) error {
	agent, _, _ := strings.Cut(o.agents, ",")
	request := &agentv1.StartAgentRequest{AgentId: agent, Message: o.text, RequestId: uuid.NewString()}
	started, err := api.Agents.StartAgent(ctx, request)
	if err != nil {
		return err
	}
	execution, err := api.WatchAgent(ctx, started.GetId(), func(event *agentv1.WatchAgentExecutionResponse) {
		fmt.Printf("%s %s\n", event.GetTime().AsTime().Format(time.TimeOnly), eventName(event))
	})
	if err != nil {
		return err
	}
	if execution.GetStatus().GetPhase() != agentv1.AgentExecutionPhase_AGENT_EXECUTION_PHASE_COMPLETED {
		return fmt.Errorf("%s: %s", execution.GetId(), execution.GetStatus().GetFailure().GetMessage())
	}
	fmt.Println(execution.GetStatus().GetOutput().GetText())
	return nil
}

func eventName(event *agentv1.WatchAgentExecutionResponse) string {
	message := event.ProtoReflect()
	field := message.WhichOneof(message.Descriptor().Oneofs().ByName("event"))
	if field == nil {
		return "something newer than this program"
	}
	return string(field.Name())
}

// traceContext lets the API go on in the trace of who started this program, by the variable that
// OpenTelemetry has for it. A program with OpenTelemetry of its own injects ctx: see README.md.
func traceContext(context.Context) map[string]string {
	parent := os.Getenv("TRACEPARENT")
	if parent == "" {
		return nil
	}
	return map[string]string{"traceparent": parent}
}

func describe(err error) string {
	var cancelled *temporal.CanceledError
	if errors.As(err, &cancelled) {
		return "cancelled"
	}
	if failure := stigma.FailureOf(err); failure != nil {
		return fmt.Sprintf("%s: %s", failure.Type, failure.Message)
	}
	return err.Error()
}

// asEvent names a record's fields as Stigma's services do.
func asEvent(_ []string, field slog.Attr) slog.Attr {
	switch field.Key {
	case slog.MessageKey:
		field.Key = "event"
	case slog.TimeKey:
		field.Key = "timestamp"
	case slog.LevelKey:
		field.Value = slog.StringValue(strings.ToLower(field.Value.String()))
	}
	return field
}
