package dev.stigma.caller;

import dev.stigma.agent.v1.AgentExecution;
import dev.stigma.agent.v1.AgentExecutionServiceGrpc;
import dev.stigma.agent.v1.AgentExecutionServiceGrpc.AgentExecutionServiceBlockingStub;
import dev.stigma.agent.v1.WatchAgentExecutionRequest;
import dev.stigma.agent.v1.WatchAgentExecutionResponse;
import dev.stigma.workflow.v1.WorkflowExecutionServiceGrpc;
import dev.stigma.workflow.v1.WorkflowExecutionServiceGrpc.WorkflowExecutionServiceBlockingStub;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ChannelCredentials;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.ConnectivityState;
import io.grpc.Context;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.TlsChannelCredentials;
import io.grpc.stub.MetadataUtils;
import java.io.File;
import java.io.IOException;
import java.util.Iterator;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.function.Supplier;

/** A connection to Stigma's API. */
public final class StigmaClient implements AutoCloseable {
  /** A whole execution, with its input and output, may be more than gRPC's default of 4 MiB. */
  private static final int MAX_MESSAGE_BYTES = 8 << 20;

  private final ManagedChannel channel;
  private final AgentExecutionServiceBlockingStub agents;
  private final WorkflowExecutionServiceBlockingStub workflows;

  /**
   * @param address host:port or a gRPC target
   * @param apiKey sent as a bearer token; empty: none
   * @param credentials TlsChannelCredentials, or InsecureChannelCredentials for one in clear
   * @param serverName name in the server's certificate, where it is not its address's; else empty
   * @param allowInsecure send the key in clear also to another machine
   * @param metadata gives what else accompanies a call, for instance the W3C traceparent of the
   *     current span; called once a call, on the thread that makes it
   */
  public StigmaClient(
      String address,
      String apiKey,
      ChannelCredentials credentials,
      String serverName,
      boolean allowInsecure,
      Supplier<Map<String, String>> metadata) {
    boolean inClear = credentials instanceof InsecureChannelCredentials;
    if (!apiKey.isEmpty() && inClear && !allowInsecure && !isLoopback(address)) {
      throw new IllegalArgumentException(
          "an API key for " + address + " would be sent in clear: configure TLS, or allowInsecure");
    }
    ManagedChannelBuilder<?> builder =
        Grpc.newChannelBuilder(address, credentials)
            // Every address behind a name is used. Temporal's retries are the only ones.
            .defaultLoadBalancingPolicy("round_robin")
            .disableRetry()
            .maxInboundMessageSize(MAX_MESSAGE_BYTES)
            .keepAliveTime(20, TimeUnit.SECONDS)
            .keepAliveTimeout(10, TimeUnit.SECONDS)
            .intercept(new Accompaniment(apiKey, metadata));
    if (!serverName.isEmpty()) {
      builder.overrideAuthority(serverName);
    }
    channel = builder.build();
    agents = AgentExecutionServiceGrpc.newBlockingStub(channel);
    workflows = WorkflowExecutionServiceGrpc.newBlockingStub(channel);
  }

  /**
   * Reads STIGMA_API_ADDRESS, _KEY, _TLS, _TLS_CA, _TLS_CLIENT_CERT, _TLS_CLIENT_KEY,
   * _TLS_SERVER_NAME and _ALLOW_INSECURE: the same as Stigma's Python client.
   */
  public static StigmaClient fromEnvironment() throws IOException {
    return fromEnvironment(Map::of);
  }

  /** As fromEnvironment(), with the constructor's metadata. */
  public static StigmaClient fromEnvironment(Supplier<Map<String, String>> metadata)
      throws IOException {
    Map<String, String> env = System.getenv();
    String address = env.getOrDefault("STIGMA_API_ADDRESS", "");
    return new StigmaClient(
        address.isEmpty() ? "localhost:7300" : address,
        env.getOrDefault("STIGMA_API_KEY", ""),
        credentials(env),
        env.getOrDefault("STIGMA_API_TLS_SERVER_NAME", ""),
        flag(env, "STIGMA_API_ALLOW_INSECURE"),
        metadata);
  }

  public AgentExecutionServiceBlockingStub agents() {
    reconnect();
    return agents;
  }

  public WorkflowExecutionServiceBlockingStub workflows() {
    reconnect();
    return workflows;
  }

  /**
   * Calls see with everything that happens to an execution, and returns it when it has ended. It
   * loses nothing: after a broken connection it goes on behind the last event.
   */
  public AgentExecution watchAgent(String id, Consumer<WatchAgentExecutionResponse> see)
      throws InterruptedException {
    WatchAgentExecutionRequest request = WatchAgentExecutionRequest.newBuilder().setId(id).build();
    Context.CancellableContext watching = Context.current().withCancellation();
    Context outer = watching.attach();
    try {
      while (true) {
        try {
          Iterator<WatchAgentExecutionResponse> events = agents().watchAgentExecution(request);
          while (events.hasNext()) {
            WatchAgentExecutionResponse event = events.next();
            request = request.toBuilder().setCursor(event.getCursor()).build();
            see.accept(event);
            if (event.hasEnded()) {
              return event.getEnded().getExecution();
            }
          }
        } catch (StatusRuntimeException e) {
          if (e.getStatus().getCode() != Status.Code.UNAVAILABLE) {
            throw e;
          }
        }
        Thread.sleep(1000);
      }
    } finally {
      watching.detachAndCancel(outer, null); // or a stream that is not read to its end would stay
    }
  }

  /** Closes the connection; stop the workers first. */
  @Override
  public void close() {
    try {
      channel.shutdown().awaitTermination(5, TimeUnit.SECONDS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    } finally {
      channel.shutdownNow();
    }
  }

  /**
   * Has the next call connect at once: Temporal's retries say when, and gRPC's own back-off, up to
   * two minutes, would fail them for as long after an outage.
   */
  private void reconnect() {
    if (channel.getState(false) == ConnectivityState.TRANSIENT_FAILURE) {
      channel.enterIdle();
    }
  }

  /** What is sent with every call. The constructor decides where a key may go in clear. */
  private static final class Accompaniment implements ClientInterceptor {
    private final String apiKey;
    private final Supplier<Map<String, String>> metadata;

    Accompaniment(String apiKey, Supplier<Map<String, String>> metadata) {
      this.apiKey = apiKey;
      this.metadata = metadata;
    }

    @Override
    public <Q, R> ClientCall<Q, R> interceptCall(
        MethodDescriptor<Q, R> method, CallOptions options, Channel next) {
      Metadata sent = new Metadata();
      metadata.get().forEach((name, value) -> sent.put(key(name), value));
      if (!apiKey.isEmpty()) {
        sent.put(key("authorization"), "Bearer " + apiKey);
      }
      return MetadataUtils.newAttachHeadersInterceptor(sent).interceptCall(method, options, next);
    }

    private static Metadata.Key<String> key(String name) {
      return Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER);
    }
  }

  private static ChannelCredentials credentials(Map<String, String> env) throws IOException {
    String ca = env.getOrDefault("STIGMA_API_TLS_CA", "");
    String certificate = env.getOrDefault("STIGMA_API_TLS_CLIENT_CERT", "");
    String key = env.getOrDefault("STIGMA_API_TLS_CLIENT_KEY", "");
    String name = env.getOrDefault("STIGMA_API_TLS_SERVER_NAME", "");
    if (!flag(env, "STIGMA_API_TLS") && (ca + certificate + key + name).isEmpty()) {
      return InsecureChannelCredentials.create();
    }
    if (certificate.isEmpty() != key.isEmpty()) {
      throw new IllegalArgumentException("a client certificate and its key go together");
    }
    TlsChannelCredentials.Builder tls = TlsChannelCredentials.newBuilder();
    if (!ca.isEmpty()) {
      tls.trustManager(new File(ca));
    }
    if (!certificate.isEmpty()) {
      tls.keyManager(new File(certificate), new File(key));
    }
    return tls.build();
  }

  private static boolean flag(Map<String, String> env, String name) {
    String value = env.getOrDefault(name, "");
    return switch (value.strip().toLowerCase(Locale.ROOT)) {
      case "", "0", "false", "no" -> false;
      case "1", "true", "yes" -> true;
      default ->
          throw new IllegalArgumentException(
              name + " is \"" + value + "\": expected true or false");
    };
  }

  private static boolean isLoopback(String address) {
    String host = address.replaceFirst("^dns:///", "").replaceFirst(":\\d+$", "");
    return address.startsWith("unix:")
        || host.equals("localhost")
        || host.equals("[::1]")
        || host.matches("127(\\.\\d+){3}");
  }
}
