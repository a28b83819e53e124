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
	"maps"
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

// A whole execution, with its input and output, may be more than gRPC's default of 4 MiB.
const maxMessageBytes = 8 << 20

// Config says how to reach Stigma's API.
type Config struct {
	Address       string      // host:port or a gRPC target; default localhost:7300
	APIKey        string      // sent as a bearer token
	TLS           *tls.Config // nil: in clear
	AllowInsecure bool        // send the key in clear also to another machine
	// Events gets one record a step of a hand-off: token_taken, start_requested, acknowledged,
	// pending. Default: slog.Default().
	Events *slog.Logger
	// Metadata, if set, gives what else accompanies a call, for instance the W3C traceparent of the
	// span in ctx, which is the activity's. It is called once a call, from several at once.
	Metadata func(ctx context.Context) map[string]string
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
	config := Config{Address: os.Getenv("STIGMA_API_ADDRESS"), APIKey: os.Getenv("STIGMA_API_KEY")}
	var err error
	if config.AllowInsecure, err = flag("STIGMA_API_ALLOW_INSECURE"); err != nil {
		return Config{}, err
	}
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
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessageBytes)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second},
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 10 * time.Second}),
	}
	if config.APIKey != "" || config.Metadata != nil {
		options = append(options, grpc.WithPerRPCCredentials(accompaniment{config.APIKey, config.Metadata}))
	}
	connection, err := grpc.NewClient(config.Address, options...)
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

// accompaniment is sent with every call. NewClient decides where a key may go in clear.
type accompaniment struct {
	apiKey   string
	metadata func(context.Context) map[string]string
}

func (a accompaniment) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	sent := map[string]string{}
	if a.metadata != nil {
		maps.Copy(sent, a.metadata(ctx))
	}
	if a.apiKey != "" {
		sent["authorization"] = "Bearer " + a.apiKey
	}
	return sent, nil
}

func (accompaniment) RequireTransportSecurity() bool { return false }

func tlsFromEnvironment() (*tls.Config, error) {
	ca, name := os.Getenv("STIGMA_API_TLS_CA"), os.Getenv("STIGMA_API_TLS_SERVER_NAME")
	certificate, key := os.Getenv("STIGMA_API_TLS_CLIENT_CERT"), os.Getenv("STIGMA_API_TLS_CLIENT_KEY")
	wanted, err := flag("STIGMA_API_TLS")
	if err != nil || !wanted && ca+name+certificate+key == "" {
		return nil, err
	}
	if (certificate == "") != (key == "") {
		return nil, errors.New("a client certificate and its key go together")
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
	if certificate != "" {
		pair, err := tls.LoadX509KeyPair(certificate, key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

func flag(name string) (bool, error) {
	value := os.Getenv(name)
	switch strings.ToLower(strings.TrimSpace(value)) {
	case "", "0", "false", "no":
		return false, nil
	case "1", "true", "yes":
		return true, nil
	}
	return false, fmt.Errorf("%s is %q: expected true or false", name, value)
}

func isLoopback(address string) bool {
	if strings.HasPrefix(address, "unix:") {
		return true
	}
	host, _, err := net.SplitHostPort(strings.TrimPrefix(address, "dns:///"))
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
