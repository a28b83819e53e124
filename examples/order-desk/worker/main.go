// A worker of an order desk: two activities, as any Temporal worker has them. It holds no line of
// Stigma's, whose agents call them as tools.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"sync"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
)

// Order is what the desk knows of an order.
type Order struct {
	Number string `json:"number"`
	Status string `json:"status"`
	Cents  int    `json:"cents"`
}

// FindArguments are what FindOrder takes: the model gives them as one JSON object.
type FindArguments struct {
	Number string `json:"number"`
}

// RefundArguments are what RefundOrder takes. The key is Stigma's: it is the same for each attempt
// of a call.
type RefundArguments struct {
	Number string `json:"number"`
	Cents  int    `json:"cents"`
	Key    string `json:"key"`
}

// Desk keeps orders and refunds in memory; a real one would ask its database.
type Desk struct {
	mutex   sync.Mutex
	orders  map[string]Order
	refunds map[string]string
}

// FindOrder returns an order.
func (desk *Desk) FindOrder(_ context.Context, arguments FindArguments) (Order, error) {
	desk.mutex.Lock()
	defer desk.mutex.Unlock()
	order, found := desk.orders[arguments.Number]
	if !found {
		return Order{}, temporal.NewNonRetryableApplicationError(
			"there is no order "+arguments.Number, "NoSuchOrder", nil)
	}
	return order, nil
}

// RefundOrder refunds an order once, however often it is called with the same key.
func (desk *Desk) RefundOrder(_ context.Context, arguments RefundArguments) (string, error) {
	desk.mutex.Lock()
	defer desk.mutex.Unlock()
	receipt, done := desk.refunds[arguments.Key]
	if !done {
		receipt = fmt.Sprintf("receipt %d: %d cents for %s",
			len(desk.refunds)+1, arguments.Cents, arguments.Number)
		desk.refunds[arguments.Key] = receipt
	}
	return receipt, nil
}

func main() {
	address, queue := os.Getenv("TEMPORAL_ADDRESS"), "order-desk"
	if len(os.Args) > 1 {
		queue = os.Args[1]
	}
	temporalClient, err := client.Dial(client.Options{
		HostPort: address, Namespace: os.Getenv("TEMPORAL_NAMESPACE"),
	})
	if err != nil {
		log.Fatalln(err)
	}
	defer temporalClient.Close()
	desk := &Desk{
		orders:  map[string]Order{"A-7": {Number: "A-7", Status: "lost", Cents: 4200}},
		refunds: map[string]string{},
	}
	desks := worker.New(temporalClient, queue, worker.Options{})
	desks.RegisterActivity(desk.FindOrder)
	desks.RegisterActivity(desk.RefundOrder)
	if err := desks.Run(worker.InterruptCh()); err != nil {
		log.Fatalln(err)
	}
}
