// What an RPC's error means to the activity: what may pass is retried, an answer is not.
import { fileURLToPath } from 'node:url';
import { status, type ServiceError } from '@grpc/grpc-js';
import { loadSync, type MessageTypeDefinition } from '@grpc/proto-loader';
import { ApplicationFailure } from '@temporalio/common';
import { failed, type Kind } from './failure.ts';
import { LOADING } from './protos.ts';

const TRANSIENT = new Set<status>([
  status.ABORTED,
  status.CANCELLED,
  status.DEADLINE_EXCEEDED,
  status.INTERNAL,
  status.RESOURCE_EXHAUSTED,
  status.UNAVAILABLE,
  status.UNKNOWN,
]);

interface Details {
  retryDelay?: { seconds: string; nanos: number };
  fieldViolations?: { field: string; description: string }[];
}

interface Rich {
  details: { typeUrl: string; value: Buffer }[];
}

const messages = loadSync(fileURLToPath(new URL('errors.proto', import.meta.url)), LOADING);

/** How gRPC begins to tell of a request with a value that its field does not take. */
const MALFORMED = 'Request message serialization failure: ';

/** Returns what the activity throws for an error of an RPC, and any other as it is. */
export function refusal(error: unknown, kind: Kind, step: string): unknown {
  if (!isServiceError(error)) {
    return error;
  }
  if (error.details.startsWith(MALFORMED)) {
    return failed(kind, 'INVALID_ARGUMENT', step, error.details.slice(MALFORMED.length));
  }
  const code = status[error.code];
  const { retryDelay, fieldViolations = [] } = details(error);
  if (TRANSIENT.has(error.code)) {
    return ApplicationFailure.create({
      type: code,
      message: `${code}: ${error.details} (at ${step})`,
      nextRetryDelay:
        retryDelay && Number(retryDelay.seconds) * 1000 + Math.ceil(retryDelay.nanos / 1e6),
    });
  }
  const violations = fieldViolations.map(({ field, description }) => ({ field, description }));
  const said = [error.details, ...violations.map((each) => `${each.field}: ${each.description}`)];
  return failed(kind, code, step, said.join('; '), { violations });
}

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && 'code' in error && 'details' in error && 'metadata' in error;
}

function details(error: ServiceError): Details {
  const [encoded] = error.metadata.get('grpc-status-details-bin');
  if (!(encoded instanceof Buffer)) {
    return {};
  }
  const rich = message<Rich>('google.rpc.Status', encoded);
  const known = rich.details.map(({ typeUrl, value }) => {
    const name = typeUrl.slice(typeUrl.lastIndexOf('/') + 1);
    return name in messages ? message<Details>(name, value) : {};
  });
  return Object.assign({}, ...known) as Details;
}

function message<T>(name: string, encoded: Buffer): T {
  return (messages[name] as MessageTypeDefinition<object, object>).deserialize(encoded) as T;
}
