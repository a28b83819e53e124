// A Temporal worker whose workflow asks an agent: `node src/main.ts [NAME]` runs it once.
import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { Client } from '@temporalio/client';
import { loadClientConnectConfig } from '@temporalio/envconfig';
import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import { StigmaClient } from './stigma/client.ts';
import { tokenFree } from './stigma/logs.ts';
import { stigmaPlugin } from './stigma/plugin.ts';
import type { greet } from './workflows.ts';

const taskQueue = 'greetings';

Runtime.install({ logger: tokenFree(new DefaultLogger('INFO')) });
const api = StigmaClient.fromEnvironment(); // STIGMA_API_ADDRESS, …
const { namespace, connectionOptions } = loadClientConnectConfig(); // TEMPORAL_ADDRESS, …
const connection = await NativeConnection.connect(connectionOptions);
const worker = await Worker.create({
  connection,
  namespace,
  taskQueue,
  workflowBundle: { codePath: fileURLToPath(new URL('../build/workflows.cjs', import.meta.url)) },
  plugins: [stigmaPlugin(api)],
});
const { workflow } = new Client({ connection, namespace });
try {
  const greeting = await worker.runUntil(() =>
    workflow.execute<typeof greet>('greet', {
      taskQueue,
      workflowId: `greet-${randomUUID()}`,
      args: [process.argv.slice(2).join(' ') || 'Grace'],
    }),
  );
  console.log(greeting);
} finally {
  await connection.close();
  api.close();
}
