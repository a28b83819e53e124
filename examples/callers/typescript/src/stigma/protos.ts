// How Stigma's protos are read: by the client as it runs, and by generate.ts, which makes the types.

export const SERVICES = [
  'stigma/agent/v1/agent_execution_service.proto',
  'stigma/workflow/v1/workflow_execution_service.proto',
];

export const LOADING = { longs: String, enums: String, defaults: true, oneofs: true } as const;
