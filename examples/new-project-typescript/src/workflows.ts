import { runAgent } from './stigma/calls.ts';

/** Asks one agent, and holds no worker while it waits. */
export async function greet(name: string): Promise<string> {
  return runAgent({ agentId: 'greeter', message: `I am ${name}` }, { timeout: '1h' });
}
