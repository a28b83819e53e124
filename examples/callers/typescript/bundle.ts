// Bundles the workflows, once a build instead of at each start of the worker: `npm run bundle`.
import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { bundleWorkflowCode, DefaultLogger } from '@temporalio/worker';

const workflowsPath = fileURLToPath(new URL('src/workflows.ts', import.meta.url));
const { code } = await bundleWorkflowCode({ workflowsPath, logger: new DefaultLogger('WARN') });
mkdirSync(new URL('build', import.meta.url), { recursive: true });
writeFileSync(new URL('build/workflows.cjs', import.meta.url), code);
