{{/* What the shared templates ask this chart for. */}}
{{- define "ai-worker.environment" -}}
- name: STIGMA_MAX_CONCURRENT_ACTIVITIES
  value: {{ .Values.limits.maxConcurrentActivities | int64 | quote }}
- name: STIGMA_MAX_CACHED_CONVERSATION_BYTES
  value: {{ .Values.limits.maxCachedConversationBytes | int64 | quote }}
{{- if include "ai-worker.providers" . }}
- name: STIGMA_PROVIDERS_FILE
  value: /etc/stigma/providers/providers.yaml
{{- end }}
{{- range .Values.apiKeys }}
- name: {{ .env }}
  valueFrom:
    secretKeyRef: { name: {{ .secret | quote }}, key: {{ .key | quote }} }
{{- end }}
{{- include "stigma.proxyEnvironment" . }}
{{- end -}}

{{/* Task queues and the kinds of tasks in them: what pods are scaled by. */}}
{{- define "ai-worker.queues" -}}
stigma-ai: activity
{{- end -}}

{{- define "ai-worker.volumes" -}}
{{- with include "ai-worker.providers" . }}
- name: providers
  configMap: { name: {{ . | quote }} }
{{- end }}
{{- end -}}

{{- define "ai-worker.checksums" -}}
{{- with concat .Values.providers .Values.mcpServers }}
checksum/providers: {{ . | toJson | sha256sum }}
{{- end }}
{{- end -}}

{{- define "ai-worker.egress" -}}
{{ include "stigma.outbound" . }}
{{- end -}}

{{- define "ai-worker.strategy" -}}
{{ include "stigma.rollingUpdate" . }}
{{- end -}}

{{- define "ai-worker.stateVolume" -}}
{{ include "stigma.emptyState" . }}
{{- end -}}

{{/* It asks for its work, and stops asking when it is told to end. */}}
{{- define "ai-worker.drainSeconds" -}}0{{- end -}}

{{/* It serves nothing but its admin port. */}}
{{- define "ai-worker.ports" -}}{{- end -}}
{{- define "ai-worker.servicePorts" -}}{{- end -}}
{{- define "ai-worker.policyPorts" -}}[]{{- end -}}

{{/* Name of the ConfigMap with the providers file; nothing where there is none. */}}
{{- define "ai-worker.providers" -}}
{{- if .Values.existingConfigMap -}}
{{- .Values.existingConfigMap -}}
{{- else if or .Values.providers .Values.mcpServers -}}
{{- include "stigma.fullname" . }}-providers
{{- end -}}
{{- end -}}

{{- define "ai-worker.configMap" -}}
{{- if and (or .Values.providers .Values.mcpServers) (not .Values.existingConfigMap) -}}
apiVersion: v1
kind: ConfigMap
metadata:
  {{- include "stigma.metadata" (list . "-providers") | nindent 2 }}
data:
  providers.yaml: |
    {{- range concat .Values.providers .Values.mcpServers }}
    ---
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
{{- end -}}
