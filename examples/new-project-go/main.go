// A Temporal worker whose workflow asks an agent: `go run . [NAME]` runs it once.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	agentv1 "github.com/stigma-dev/stigma/gen/go/stigma/agent/v1"

	"greeter/stigma"
)

const taskQueue = "greetings"

// Greet asks one agent, and holds no worker while it waits.
func Greet(ctx workflow.Context, name string) (string, error) {
	request := &agentv1.StartAgentRequest{AgentId: "greeter", Message: "I am " + name}
	execution, err := stigma.RunAgent(ctx, request, stigma.Bounds{Timeout: time.Hour})
	if err != nil {
		return "", err
	}
	return execution.GetStatus().GetOutput().GetText(), nil
}

func main() {
	name := strings.Join(os.Args[1:], " ")
	if name == "" {
		name = "Grace"
	}
	greeting, err := run(context.Background(), name)
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	fmt.Println(greeting)
}

// run serves the workflow, and runs it once.
func run(ctx context.Context, name string) (greeting string, err error) {
	config, err := stigma.ConfigFromEnvironment() // STIGMA_API_ADDRESS, …
	if err != nil {
		return "", err
	}
	api, err := stigma.NewClient(config)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, api.Close()) }()
	settings, err := envconfig.LoadDefaultClientOptions() // TEMPORAL_ADDRESS, …
	if err != nil {
		return "", err
	}
	temporal, err := client.Dial(settings)
	if err != nil {
		return "", err
	}
	defer temporal.Close()
	ours := worker.New(temporal, taskQueue, worker.Options{})
	ours.RegisterWorkflow(Greet)
	api.Register(ours)
	if err := ours.Start(); err != nil {
		return "", err
	}
	defer ours.Stop()
	start := client.StartWorkflowOptions{ID: "greet-" + uuid.NewString(), TaskQueue: taskQueue}
	called, err := temporal.ExecuteWorkflow(ctx, start, Greet, name)
	if err != nil {
		return "", err
	}
	err = called.Get(ctx, &greeting)
	return greeting, err
}
