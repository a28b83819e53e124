// A connection to Stigma's API.
import { readFileSync } from 'node:fs';
import tls from 'node:tls';
import { fileURLToPath } from 'node:url';
import * as grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import type { ProtoGrpcType as AgentTypes } from '../../gen/agent_execution_service.ts';
import type { AgentExecutionServiceClient } from '../../gen/stigma/agent/v1/AgentExecutionService.ts';
import type { WorkflowExecutionServiceClient } from '../../gen/stigma/workflow/v1/WorkflowExecutionService.ts';
import type { ProtoGrpcType as WorkflowTypes } from '../../gen/workflow_execution_service.ts';
import { LOADING, SERVICES } from './protos.ts';

/** A whole execution, with its input and output, may be more than gRPC's default of 4 MiB. */
const MAX_MESSAGE_BYTES = 8 << 20;

export interface Config {
  /** host:port or a gRPC target; default localhost:7300. */
  address?: string;
  /** Sent as a bearer token. */
  apiKey?: string;
  /** Absent: in clear. */
  tls?: grpc.ChannelCredentials;
  /** Name in the server's certificate, where it is not its address's. */
  serverName?: string;
  /** Send the key in clear also to another machine. */
  allowInsecure?: boolean;
  /** What else accompanies a call, for instance the W3C traceparent of the current span. */
  metadata?: () => Record<string, string>;
}

type Done<Response> = grpc.requestCallback<Response>;

/** A method of a service: what its last overload has, which is the one that TypeScript infers from. */
type Method<Request, Response> = (request: Request, done: Done<Response>) => grpc.ClientUnaryCall;

type WholeMethod<Request, Response> = (
  request: Request,
  metadata: grpc.Metadata,
  options: grpc.CallOptions,
  done: Done<Response>,
) => grpc.ClientUnaryCall;

export class StigmaClient {
  readonly agents: AgentExecutionServiceClient;
  readonly workflows: WorkflowExecutionServiceClient;
  readonly #config: Config;

  /** Opens a connection. It is established when first used. */
  constructor(config: Config = {}) {
    const address = config.address || 'localhost:7300';
    if (config.apiKey && !config.tls && !config.allowInsecure && !isLoopback(address)) {
      throw new Error(
        `an API key for ${address} would be sent in clear: configure TLS, or allowInsecure`,
      );
    }
    this.#config = config;
    const protos = fileURLToPath(new URL('../../gen/protos', import.meta.url));
    const loaded = loadSync(SERVICES, { ...LOADING, includeDirs: [protos] });
    const { stigma } = grpc.loadPackageDefinition(loaded) as unknown as AgentTypes & WorkflowTypes;
    const transport = config.tls ?? grpc.credentials.createInsecure();
    const options: grpc.ChannelOptions = {
      // Every address behind a name is used. Temporal's retries are the only ones.
      'grpc.service_config': '{"loadBalancingConfig": [{"round_robin": {}}]}',
      'grpc.enable_retries': 0,
      'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 5_000,
      'grpc.keepalive_time_ms': 20_000,
      'grpc.keepalive_timeout_ms': 10_000,
    };
    if (config.serverName) {
      options['grpc.ssl_target_name_override'] = config.serverName;
      options['grpc.default_authority'] = config.serverName;
    }
    this.agents = new stigma.agent.v1.AgentExecutionService(address, transport, options);
    this.workflows = new stigma.workflow.v1.WorkflowExecutionService(address, transport, options);
  }

  /**
   * Reads STIGMA_API_ADDRESS, _KEY, _TLS, _TLS_CA, _TLS_CLIENT_CERT, _TLS_CLIENT_KEY,
   * _TLS_SERVER_NAME and _ALLOW_INSECURE: the same as Stigma's Python client.
   */
  static fromEnvironment(metadata?: Config['metadata']): StigmaClient {
    return new StigmaClient({
      address: process.env.STIGMA_API_ADDRESS,
      apiKey: process.env.STIGMA_API_KEY,
      tls: tlsFromEnvironment(),
      serverName: process.env.STIGMA_API_TLS_SERVER_NAME,
      allowInsecure: flag('STIGMA_API_ALLOW_INSECURE'),
      metadata,
    });
  }

  /** Calls a unary method of agents or workflows, and gives it so many milliseconds. */
  call<Request, Response>(
    service: grpc.Client,
    method: Method<Request, Response>,
    request: Request,
    milliseconds = 10_000,
  ): Promise<Response> {
    const deadline = Date.now() + milliseconds;
    const whole = method as unknown as WholeMethod<Request, Response>;
    return new Promise((resolve, reject) => {
      whole.call(service, request, this.accompaniment(), { deadline }, (error, response) =>
        error ? reject(error) : resolve(response as Response),
      );
    });
  }

  /** What is sent with every call. The constructor decides where a key may go in clear. */
  accompaniment(): grpc.Metadata {
    const sent = new grpc.Metadata();
    for (const [name, value] of Object.entries(this.#config.metadata?.() ?? {})) {
      sent.set(name, value);
    }
    if (this.#config.apiKey) {
      sent.set('authorization', `Bearer ${this.#config.apiKey}`);
    }
    return sent;
  }

  /** Closes the connection; stop the workers first. */
  close(): void {
    this.agents.close();
    this.workflows.close();
  }
}

function tlsFromEnvironment(): grpc.ChannelCredentials | undefined {
  const { env } = process;
  const [ca, certificate, key, name] = ['CA', 'CLIENT_CERT', 'CLIENT_KEY', 'SERVER_NAME'].map(
    (each) => env[`STIGMA_API_TLS_${each}`] ?? '',
  );
  if (!flag('STIGMA_API_TLS') && !(ca || certificate || key || name)) {
    return undefined;
  }
  if (!certificate !== !key) {
    throw new Error('a client certificate and its key go together');
  }
  const system = tls.getCACertificates('system').join('\n');
  return grpc.credentials.createSsl(
    ca ? readFileSync(ca) : system ? Buffer.from(system) : null,
    key ? readFileSync(key) : null,
    certificate ? readFileSync(certificate) : null,
  );
}

function flag(name: string): boolean {
  const value = process.env[name] ?? '';
  switch (value.trim().toLowerCase()) {
    case '':
    case '0':
    case 'false':
    case 'no':
      return false;
    case '1':
    case 'true':
    case 'yes':
      return true;
  }
  throw new Error(`${name} is "${value}": expected true or false`);
}

function isLoopback(address: string): boolean {
  const host = address.replace(/^dns:\/\/\//, '').replace(/:\d+$/, '');
  const local = host === 'localhost' || host === '[::1]' || /^127(\.\d+){3}$/.test(host);
  return local || address.startsWith('unix:');
}
