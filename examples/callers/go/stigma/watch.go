package stigma

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "github.com/stigma-dev/stigma/gen/go/stigma/agent/v1"
)

// WatchAgent calls see with everything that happens to an execution, and returns it when it has
// ended. It loses nothing: after a broken connection it goes on behind the last event.
func (c *Client) WatchAgent(ctx context.Context, id string, see func(*agentv1.WatchAgentExecutionResponse)) (*agentv1.AgentExecution, error) {
	ctx, done := context.WithCancel(ctx) // or a stream that is not read to its end would stay
	defer done()
	cursor := ""
	for {
		stream, err := c.Agents.WatchAgentExecution(ctx, &agentv1.WatchAgentExecutionRequest{Id: id, Cursor: cursor})
		for err == nil {
			var event *agentv1.WatchAgentExecutionResponse
			if event, err = stream.Recv(); err != nil {
				break
			}
			cursor = event.GetCursor()
			see(event)
			if ended := event.GetEnded(); ended != nil {
				return ended.GetExecution(), nil
			}
		}
		if !errors.Is(err, io.EOF) && status.Code(err) != codes.Unavailable {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Second):
		}
	}
}
