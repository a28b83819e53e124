package dev.stigma.caller;

import dev.stigma.agent.v1.AgentExecution;
import dev.stigma.agent.v1.AgentExecutionServiceGrpc;
import dev.stigma.agent.v1.AgentExecutionServiceGrpc.AgentExecutionServiceBlockingStub;
import dev.stigma.agent.v1.WatchAgentExecutionRequest;
import dev.stigma.agent.v1.WatchAgentExecutionResponse;
import dev.stigma.workflow.v1.WorkflowExecutionServiceGrpc;
import dev.stigma.workflow.v1.WorkflowExecutionServiceGrpc.WorkflowExecutionServiceBlockingStub;
import io.grpc.ChannelCredentials;
import io.grpc.ClientInterceptor;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.TlsChannelCredentials;
import io.grpc.stub.MetadataUtils;
import java.io.File;
import java.io.IOException;
import java.util.Iterator;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;

/** A connection to Stigma's API. */
public final class StigmaClient implements AutoCloseable {
  private final ManagedChannel channel;
  private final AgentExecutionServiceBlockingStub agents;
  private final WorkflowExecutionServiceBlockingStub workflows;

  /**
   * @param address host:port or a gRPC target
   * @param apiKey sent as a bearer token; empty: none
   * @param credentials TlsChannelCredentials, or InsecureChannelCredentials for one in clear
   * @param serverName name in the server's certificate, where it is not its address's; else empty
   * @param allowInsecure send the key in clear also to another machine
   * @param interceptors for traces: OpenTelemetry's GrpcTelemetry.newClientInterceptor() sends the
   *     current span's W3C traceparent along
   */
  public StigmaClient(
      String address,
      String apiKey,
      ChannelCredentials credentials,
      String serverName,
      boolean allowInsecure,
      ClientInterceptor... interceptors) {
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
            .keepAliveTime(20, TimeUnit.SECONDS)
            .keepAliveTimeout(10, TimeUnit.SECONDS)
            .intercept(interceptors);
    if (!serverName.isEmpty()) {
      builder.overrideAuthority(serverName);
    }
    if (!apiKey.isEmpty()) {
      Metadata headers = new Metadata();
      headers.put(
          Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), "Bearer " + apiKey);
      builder.intercept(MetadataUtils.newAttachHeadersInterceptor(headers));
    }
    channel = builder.build();
    agents = AgentExecutionServiceGrpc.newBlockingStub(channel);
    workflows = WorkflowExecutionServiceGrpc.newBlockingStub(channel);
  }

  /**
   * Reads STIGMA_API_ADDRESS, _KEY, _TLS, _TLS_CA, _TLS_CLIENT_CERT, _TLS_CLIENT_KEY,
   * _TLS_SERVER_NAME and _ALLOW_INSECURE: the same as Stigma's Python client.
   */
  public static StigmaClient fromEnvironment(ClientInterceptor... interceptors) throws IOException {
    Map<String, String> env = System.getenv();
    String address = env.getOrDefault("STIGMA_API_ADDRESS", "");
    return new StigmaClient(
        address.isEmpty() ? "localhost:7300" : address,
        env.getOrDefault("STIGMA_API_KEY", ""),
        credentials(env),
        env.getOrDefault("STIGMA_API_TLS_SERVER_NAME", ""),
        flag(env, "STIGMA_API_ALLOW_INSECURE"),
        interceptors);
  }

  public AgentExecutionServiceBlockingStub agents() {
    return agents;
  }

  public WorkflowExecutionServiceBlockingStub workflows() {
    return workflows;
  }

  /**
   * Calls see with everything that happens to an execution, and returns it when it has ended. It
   * loses nothing: after a broken connection it goes on behind the last event.
   */
  public AgentExecution watchAgent(String id, Consumer<WatchAgentExecutionResponse> see)
      throws InterruptedException {
    WatchAgentExecutionRequest request = WatchAgentExecutionRequest.newBuilder().setId(id).build();
    while (true) {
      try {
        Iterator<WatchAgentExecutionResponse> events = agents.watchAgentExecution(request);
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
  }

  /** Closes the connection; stop the workers first. */
  @Override
  public void close() throws InterruptedException {
    if (!channel.shutdown().awaitTermination(5, TimeUnit.SECONDS)) {
      channel.shutdownNow();
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
    TlsChannelCredentials.Builder tls = TlsChannelCredentials.newBuilder();
    if (!ca.isEmpty()) {
      tls.trustManager(new File(ca));
    }
    if (!(certificate + key).isEmpty()) {
      tls.keyManager(new File(certificate), new File(key));
    }
    return tls.build();
  }

  private static boolean flag(Map<String, String> env, String name) {
    String value = env.getOrDefault(name, "").strip().toLowerCase();
    return value.equals("1") || value.equals("true") || value.equals("yes");
  }

  private static boolean isLoopback(String address) {
    String host = address.substring(address.lastIndexOf('/') + 1).replaceFirst(":\\d+$", "");
    return address.startsWith("unix:")
        || host.equals("localhost")
        || host.equals("[::1]")
        || host.matches("127(\\.\\d+){3}");
  }
}
