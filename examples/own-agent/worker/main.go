// An agent that is a workflow in Go. It holds no line of Stigma's: its task is one JSON argument,
// and it tells of its steps and asks people by signals to the execution.
package main

import (
	"fmt"
	"log"
	"os"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

// Task is what the execution asks for. There is more in it: env, session_id, limits, deadline.
type Task struct {
	ExecutionID string `json:"execution_id"`
	Message     string `json:"message"`
	Input       struct {
		Cents int `json:"cents"`
	} `json:"input"`
}

// Usage is what a step used. A cost that is left out is not known.
type Usage struct {
	InputTokens  int     `json:"input_tokens"`
	OutputTokens int     `json:"output_tokens"`
	CostUSD      float64 `json:"cost_usd"`
}

// Report tells of a step. The ID is for repetitions: those of one ID count once.
type Report struct {
	ID    string `json:"id"`
	Step  string `json:"step"`
	Text  string `json:"text"`
	Usage Usage  `json:"usage"`
}

// Question asks people.
type Question struct {
	ID       string         `json:"id"`
	Question string         `json:"question"`
	Schema   map[string]any `json:"schema"`
}

// Answer is what came of a question: ANSWERED, DECLINED, EXPIRED or REFUSED.
type Answer struct {
	ID      string `json:"id"`
	Outcome string `json:"outcome"`
	Answer  bool   `json:"answer"`
	By      string `json:"by"`
	Reason  string `json:"reason"`
}

// Outcome is the agent's output.
type Outcome struct {
	Refunded bool   `json:"refunded"`
	Why      string `json:"why"`
}

// Refund estimates what a refund is worth, and asks a person about one that is large.
func Refund(ctx workflow.Context, task Task) (Outcome, error) {
	report := Report{
		ID: "estimate", Step: "estimate",
		Text:  fmt.Sprintf("%s That is %d cents.", task.Message, task.Input.Cents),
		Usage: Usage{InputTokens: 120, OutputTokens: 40, CostUSD: 0.002},
	}
	if err := signal(ctx, task, "report", report); err != nil {
		return Outcome{}, err
	}
	if task.Input.Cents < 5000 {
		return Outcome{Refunded: true, Why: "it is small"}, nil
	}
	question := Question{
		ID:       "approve",
		Question: fmt.Sprintf("Refund %d cents?", task.Input.Cents),
		Schema:   map[string]any{"type": "boolean"},
	}
	if err := signal(ctx, task, "request_input", question); err != nil {
		return Outcome{}, err
	}
	var answer Answer
	workflow.GetSignalChannel(ctx, "stigma_input_answer").Receive(ctx, &answer)
	if answer.Outcome != "ANSWERED" {
		return Outcome{Why: answer.Outcome + " " + answer.Reason}, nil
	}
	return Outcome{Refunded: answer.Answer, Why: answer.By + " decided"}, nil
}

func signal(ctx workflow.Context, task Task, name string, argument any) error {
	return workflow.SignalExternalWorkflow(ctx, task.ExecutionID, "", name, argument).Get(ctx, nil)
}

func main() {
	temporalClient, err := client.Dial(client.Options{
		HostPort: os.Getenv("TEMPORAL_ADDRESS"), Namespace: os.Getenv("TEMPORAL_NAMESPACE"),
	})
	if err != nil {
		log.Fatalln(err)
	}
	defer temporalClient.Close()
	agents := worker.New(temporalClient, "own-agent", worker.Options{})
	agents.RegisterWorkflow(Refund)
	if err := agents.Run(worker.InterruptCh()); err != nil {
		log.Fatalln(err)
	}
}
