{{/* What the shared templates ask this chart for. */}}
{{- define "stigma-api.environment" -}}
- name: STIGMA_API_HOST
  value: {{ .Values.listenAddress | quote }}
- name: STIGMA_API_PORT
  value: "7300"
- name: STIGMA_REGISTRY_URL
  {{- if include "stigma-api.isSqlite" . }}
  value: sqlite+aiosqlite:////var/lib/stigma/stigma.db
  {{- else }}
  {{- $secret := .Values.registry.postgresql.urlSecret }}
  valueFrom:
    secretKeyRef: { name: {{ required "registry.postgresql.urlSecret.name is needed: an existing Secret with the database's URL" $secret.name | quote }}, key: {{ $secret.key | quote }} }
  {{- end }}
- name: STIGMA_PRINCIPALS_FILE
  value: /etc/stigma/principals/principals.yaml
{{- if .Values.tls.enabled }}
- name: STIGMA_API_TLS_CERT
  value: /etc/stigma/server-tls/tls.crt
- name: STIGMA_API_TLS_KEY
  value: /etc/stigma/server-tls/tls.key
{{- with .Values.tls.clientCaSecret }}
{{- if .name }}
- name: STIGMA_API_TLS_CLIENT_CA
  value: /etc/stigma/client-ca/{{ .key }}
{{- end }}
{{- end }}
{{- end }}
- name: STIGMA_API_REFLECTION
  value: {{ .Values.reflection.enabled | quote }}
- name: STIGMA_CALLBACKS_ENABLED
  value: {{ .Values.callbacks.enabled | quote }}
- name: STIGMA_TOOL_TASK_QUEUES
  value: {{ .Values.tools.taskQueues | toJson | quote }}
- name: STIGMA_TOOL_NEXUS_ENDPOINTS
  value: {{ .Values.tools.nexusEndpoints | toJson | quote }}
- name: STIGMA_SUB_AGENT_DEPTH
  value: {{ .Values.subAgents.depth | int64 | quote }}
- name: STIGMA_SUB_AGENT_COUNT
  value: {{ .Values.subAgents.count | int64 | quote }}
- name: STIGMA_SESSION_IDLE_TIMEOUT
  value: {{ .Values.sessions.idleTimeoutSeconds | int64 | quote }}
- name: STIGMA_API_MAX_IN_FLIGHT
  value: {{ .Values.limits.maxInFlight | int64 | quote }}
- name: STIGMA_API_MAX_WATCHES
  value: {{ .Values.limits.maxWatches | int64 | quote }}
- name: STIGMA_API_CALL_TIMEOUT
  value: {{ .Values.limits.callTimeoutSeconds | int64 | quote }}
- name: STIGMA_API_WATCH_TIMEOUT
  value: {{ .Values.limits.watchTimeoutSeconds | int64 | quote }}
- name: STIGMA_CLUSTER_METRICS_INTERVAL
  value: {{ .Values.clusterMetrics.intervalSeconds | int64 | quote }}
- name: STIGMA_STUCK_AFTER
  value: {{ .Values.clusterMetrics.stuckAfterSeconds | int64 | quote }}
{{- if .Values.console.enabled }}
- name: STIGMA_CONSOLE_ENABLED
  value: "true"
- name: STIGMA_CONSOLE_HOST
  value: {{ .Values.listenAddress | quote }}
- name: STIGMA_CONSOLE_PORT
  value: "7301"
- name: STIGMA_CONSOLE_SESSION_SECRET
  valueFrom:
    secretKeyRef: { name: {{ include "stigma-api.consoleSecretName" . | quote }}, key: {{ ternary .Values.console.sessionSecret.key "session-secret" (ne .Values.console.sessionSecret.name "") | quote }} }
- name: STIGMA_CONSOLE_TEMPORAL_UI_URL
  value: {{ .Values.console.temporalUiUrl | quote }}
{{- end }}
{{- end -}}

{{- define "stigma-api.volumes" -}}
- name: principals
  secret:
    secretName: {{ include "stigma-api.authSecret" . | quote }}
    items: [{ key: {{ ternary .Values.auth.existingSecretKey "principals.yaml" (ne .Values.auth.existingSecret "") | quote }}, path: principals.yaml }]
{{- if .Values.tls.enabled }}
- name: server-tls
  secret: { secretName: {{ required "tls.secret is needed with tls.enabled: an existing Secret of type kubernetes.io/tls" .Values.tls.secret | quote }} }
{{- with .Values.tls.clientCaSecret }}
{{- if .name }}
- name: client-ca
  secret:
    secretName: {{ .name | quote }}
    items: [{ key: {{ .key | quote }}, path: {{ .key | quote }} }]
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* None: the API reads its principals and certificates again when they change. */}}
{{- define "stigma-api.checksums" -}}
{{- end -}}

{{- define "stigma-api.egress" -}}
{{- if not (include "stigma-api.isSqlite" .) -}}
- ports: [{ protocol: TCP, port: {{ .Values.registry.postgresql.port }} }]
  {{- with .Values.registry.postgresql.networkPolicyTo }}
  to: {{ toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
{{- end -}}

{{/* One writer: the old pod lets go of the volume before the new one starts. */}}
{{- define "stigma-api.strategy" -}}
{{- if include "stigma-api.isSqlite" . -}}
type: Recreate
{{- else -}}
{{ include "stigma.rollingUpdate" . }}
{{- end -}}
{{- end -}}

{{- define "stigma-api.stateVolume" -}}
{{- if include "stigma-api.isSqlite" . -}}
- name: state
  persistentVolumeClaim: { claimName: {{ .Values.registry.sqlite.existingClaim | default (include "stigma.fullname" .) | quote }} }
{{- else -}}
{{ include "stigma.emptyState" . }}
{{- end -}}
{{- end -}}

{{/* The only pod has no others that callers could find by then. */}}
{{- define "stigma-api.drainSeconds" -}}
{{- include "stigma-api.isSqlite" . | empty | ternary (int .Values.drainSeconds) 0 -}}
{{- end -}}

{{- define "stigma-api.ports" -}}
- { name: grpc, containerPort: 7300 }
{{- if .Values.console.enabled }}
- { name: console, containerPort: 7301 }
{{- end }}
{{- end -}}

{{- define "stigma-api.servicePorts" -}}
- { name: grpc, port: 7300, targetPort: grpc, appProtocol: grpc }
{{- end -}}

{{- define "stigma-api.policyPorts" -}}
[{{ ternary "grpc, console" "grpc" .Values.console.enabled }}]
{{- end -}}

{{- define "stigma-api.isSqlite" -}}
{{- if eq .Values.registry.type "sqlite" -}}
{{- if or (gt (int .Values.replicas) 1) .Values.autoscaling.enabled -}}
{{- fail "SQLite serves one pod: set registry.type=postgresql for more replicas or autoscaling" -}}
{{- end -}}
yes
{{- end -}}
{{- end -}}
