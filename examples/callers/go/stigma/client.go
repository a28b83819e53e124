// Package stigma calls Stigma's agents and workflows from Temporal workflows in Go.
//
// Copy this directory and gen/ into your repository:
//
//	worker := worker.New(temporalClient, "orders", worker.Options{})
//	client.Register(worker) // the activities behind RunAgent and RunWorkflow
//
//	// in a workflow
//	execution, err := stigma.RunAgent(ctx, &agentv1.StartAgentRequest{AgentId: "reviewer", Message: "…"}, stigma.Bounds{})
package stigma

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	agentv1 "github.com/stigma-dev/stigma/gen/go/stigma/agent/v1"
	workflowv1 "github.com/stigma-dev/stigma/gen/go/stigma/workflow/v1"
)

// Config says how to reach Stigma's API.
type Config struct {
	Address       string      // host:port or a gRPC target; default localhost:7300
	APIKey        string      // sent as a bearer token
	TLS           *tls.Config // nil: in clear
	AllowInsecure bool        // send the key in clear also to another machine
	// Events gets one record a step of a hand-off: token_taken, start_requested, acknowledged,
	// pending. Default: slog.Default().
	Events *slog.Logger
	// DialOptions are added to ours: for traces, grpc.WithStatsHandler(otelgrpc.NewClientHandler())
	// sends the current span's W3C traceparent along.
	DialOptions []grpc.DialOption
}

// Client is a connection to Stigma's API, and the activities that use it.
type Client struct {
	Agents    agentv1.AgentExecutionServiceClient
	Workflows workflowv1.WorkflowExecutionServiceClient

	connection *grpc.ClientConn
	events     *slog.Logger
}

// ConfigFromEnvironment reads STIGMA_API_ADDRESS, _KEY, _TLS, _TLS_CA, _TLS_CLIENT_CERT,
// _TLS_CLIENT_KEY, _TLS_SERVER_NAME and _ALLOW_INSECURE: the same as Stigma's Python client.
func ConfigFromEnvironment() (Config, error) {
	config := Config{
		Address:       os.Getenv("STIGMA_API_ADDRESS"),
		APIKey:        os.Getenv("STIGMA_API_KEY"),
		AllowInsecure: flag("STIGMA_API_ALLOW_INSECURE"),
	}
	var err error
	config.TLS, err = tlsFromEnvironment()
	return config, err
}

// NewClient opens a connection. It is established when first used.
func NewClient(config Config) (*Client, error) {
	if config.Address == "" {
		config.Address = "localhost:7300"
	}
	if config.APIKey != "" && config.TLS == nil && !config.AllowInsecure && !isLoopback(config.Address) {
		return nil, fmt.Errorf("an API key for %s would be sent in clear: configure TLS, or AllowInsecure", config.Address)
	}
	transport := insecure.NewCredentials()
	if config.TLS != nil {
		transport = credentials.NewTLS(config.TLS)
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		// Every address behind a name is used. Temporal's retries are the only ones.
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`),
		grpc.WithDisableRetry(),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second},
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 10 * time.Second}),
	}
	if config.APIKey != "" {
		options = append(options, grpc.WithPerRPCCredentials(bearer(config.APIKey)))
	}
	connection, err := grpc.NewClient(config.Address, append(options, config.DialOptions...)...)
	if err != nil {
		return nil, err
	}
	events := config.Events
	if events == nil {
		events = slog.Default()
	}
	return &Client{
		Agents:     agentv1.NewAgentExecutionServiceClient(connection),
		Workflows:  workflowv1.NewWorkflowExecutionServiceClient(connection),
		connection: connection,
		events:     events,
	}, nil
}

// Close closes the connection; stop the workers first.
func (c *Client) Close() error { return c.connection.Close() }

// bearer is an API key, sent with every call. NewClient decides where it may go in clear.
type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

func (bearer) RequireTransportSecurity() bool { return false }

func tlsFromEnvironment() (*tls.Config, error) {
	ca, name := os.Getenv("STIGMA_API_TLS_CA"), os.Getenv("STIGMA_API_TLS_SERVER_NAME")
	certificate, key := os.Getenv("STIGMA_API_TLS_CLIENT_CERT"), os.Getenv("STIGMA_API_TLS_CLIENT_KEY")
	if !flag("STIGMA_API_TLS") && ca+name+certificate+key == "" {
		return nil, nil
	}
	config := &tls.Config{ServerName: name, MinVersion: tls.VersionTLS12}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("STIGMA_API_TLS_CA has no certificate")
		}
	}
	if certificate != "" || key != "" {
		pair, err := tls.LoadX509KeyPair(certificate, key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

func flag(name string) bool {
	value := strings.ToLower(strings.TrimSpace(os.Getenv(name)))
	return value == "1" || value == "true" || value == "yes"
}

func isLoopback(address string) bool {
	if strings.HasPrefix(address, "unix:") {
		return true
	}
	host, _, err := net.SplitHostPort(address[strings.LastIndex(address, "/")+1:])
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
