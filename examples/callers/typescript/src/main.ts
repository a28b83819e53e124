// Callers of Stigma in TypeScript: `node src/main.ts single|parallel|wait|watch`, see README.md.
import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { Client, WorkflowFailedError } from '@temporalio/client';
import { CancelledFailure } from '@temporalio/common';
import { loadClientConnectConfig } from '@temporalio/envconfig';
import { DefaultLogger, NativeConnection, Runtime, Worker, type LogEntry } from '@temporalio/worker';
import { StigmaClient } from './stigma/client.ts';
import { failureOf } from './stigma/failure.ts';
import { tokenFree } from './stigma/logs.ts';
import { stigmaPlugin } from './stigma/plugin.ts';
import { watchAgent } from './stigma/watch.ts';
import type { parallel, single, withFallback } from './workflows.ts';

const USAGE = `usage: callers EXAMPLE [--flag VALUE ...] TEXT
  single    one agent                              TEXT: its message
  parallel  several agents at once                 TEXT: their message
  wait      a Stigma workflow, with a fallback     TEXT: its input, as JSON
  watch     an agent without any Temporal workflow TEXT: its message
flags: --agents A,B,C  --workflow NAME  --fallback TEXT  --timeout 2h  --id ID  --queue NAME
`;

const flags = {
  agents: 'style-reviewer',
  workflow: 'shipping',
  fallback: '"later"',
  timeout: '2h',
  id: `caller-${randomUUID()}`,
  queue: 'typescript-callers',
};

/** Reads flags; returns the text behind them. */
function read(words: string[]): string {
  while (words[0]?.startsWith('--') && words.length > 1) {
    const [flag, value] = words.splice(0, 2);
    const name = flag.slice(2);
    if (!(name in flags)) {
      throw new Error(`${flag} is no flag\n${USAGE}`);
    }
    flags[name as keyof typeof flags] = value;
  }
  return words.join(' ');
}

/** Serves the examples' workflows, and runs one of them. */
async function inWorkflow(example: string, api: StigmaClient, text: string): Promise<string> {
  Runtime.install({ logger: tokenFree(new DefaultLogger('INFO', asEvent)) });
  const { namespace, connectionOptions } = loadClientConnectConfig(); // TEMPORAL_ADDRESS, profiles, …
  const connection = await NativeConnection.connect(connectionOptions);
  const client = new Client({ connection, namespace });
  const worker = await Worker.create({
    connection,
    namespace,
    taskQueue: flags.queue,
    workflowBundle: { codePath: fileURLToPath(new URL('../build/workflows.cjs', import.meta.url)) },
    plugins: [stigmaPlugin(api)],
  });
  try {
    return await worker.runUntil(() => run(example, client, text));
  } finally {
    await connection.close();
  }
}

async function run(example: string, { workflow }: Client, text: string): Promise<string> {
  const { workflow: name, fallback, timeout, id: workflowId, queue: taskQueue } = flags;
  const agents = flags.agents.split(',');
  const start = { workflowId, taskQueue };
  if (example === 'single') {
    const args: Parameters<typeof single> = [agents[0], text, timeout as '2h'];
    return workflow.execute<typeof single>('single', { ...start, args });
  }
  if (example === 'parallel') {
    const args: Parameters<typeof parallel> = [agents, text, timeout as '2h'];
    const answers = await workflow.execute<typeof parallel>('parallel', { ...start, args });
    return answers.map((answer, number) => `${agents[number]}: ${answer}`).join('\n');
  }
  const args: Parameters<typeof withFallback> = [name, text, fallback, timeout as '2h'];
  return workflow.execute<typeof withFallback>('withFallback', { ...start, args });
}

/** Needs no Temporal: without a token nobody is called back. */
async function watch(api: StigmaClient, message: string): Promise<string> {
  const [agentId] = flags.agents.split(',');
  const request = { agentId, message, requestId: randomUUID() };
  const started = await api.call(api.agents, api.agents.startAgent, request);
  const events = watchAgent(api, started.id);
  for (;;) {
    const { value, done } = await events.next();
    if (!done) {
      const seconds = Number(value.time?.seconds ?? 0);
      const name = value.event?.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
      console.log(new Date(seconds * 1000).toISOString(), name ?? 'newer_than_this_program');
    } else if (value.status?.phase === 'AGENT_EXECUTION_PHASE_COMPLETED') {
      return value.status.output?.text ?? '';
    } else {
      throw new Error(`${value.id}: ${value.status?.failure?.message}`);
    }
  }
}

/**
 * Lets the API go on in the trace of who started this program, by the variable that OpenTelemetry
 * has for it. A program with OpenTelemetry of its own injects its context: see README.md.
 */
function traceContext(): Record<string, string> {
  const { TRACEPARENT: traceparent } = process.env;
  return traceparent ? { traceparent } : {};
}

/** Prints a log line with the names that Stigma's services use. */
function asEvent({ level, timestampNanos, message, meta }: LogEntry): void {
  const timestamp = new Date(Number(timestampNanos / 1_000_000n)).toISOString();
  const line = { timestamp, level: level.toLowerCase(), event: message, ...meta };
  const plain = (_: string, value: unknown) =>
    value instanceof Error ? value.message : typeof value === 'bigint' ? `${value}` : value;
  process.stderr.write(`${JSON.stringify(line, plain)}\n`);
}

function describe(error: unknown): string {
  const cause = error instanceof WorkflowFailedError ? error.cause : error;
  if (cause instanceof CancelledFailure) {
    return 'cancelled';
  }
  const failure = failureOf(cause);
  return failure ? `${failure.type}: ${failure.message}` : String((cause as Error).message ?? cause);
}

const [example, ...words] = process.argv.slice(2);
if (!['single', 'parallel', 'wait', 'watch'].includes(example)) {
  process.stderr.write(USAGE);
  process.exit(2);
}
try {
  const text = read(words);
  const api = StigmaClient.fromEnvironment(traceContext);
  const answer = await (example === 'watch' ? watch(api, text) : inWorkflow(example, api, text));
  console.log(answer);
  api.close();
} catch (error) {
  process.stderr.write(`error: ${describe(error)}\n`);
  process.exitCode = 1;
}
