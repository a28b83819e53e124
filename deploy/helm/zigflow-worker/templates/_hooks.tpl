{{/* What the shared templates ask this chart for. */}}
{{- define "zigflow-worker.environment" -}}
- name: STIGMA_MAX_CACHED_WORKFLOWS
  value: {{ .Values.limits.maxCachedWorkflows | int64 | quote }}
- name: STIGMA_MAX_CONCURRENT_WORKFLOW_TASKS
  value: {{ .Values.limits.maxConcurrentWorkflowTasks | int64 | quote }}
- name: STIGMA_MAX_CONCURRENT_CALLS
  value: {{ .Values.limits.maxConcurrentCalls | int64 | quote }}
- name: STIGMA_OUTGOING_ALLOW
  value: {{ .Values.calls.allow | toJson | quote }}
- name: STIGMA_OUTGOING_DENY
  value: {{ .Values.calls.deny | toJson | quote }}
- name: STIGMA_OUTGOING_CONNECT_TO
  value: {{ .Values.calls.connectTo | toJson | quote }}
- name: STIGMA_OUTGOING_MAX_RESPONSE_BYTES
  value: {{ .Values.calls.maxResponseBytes | int64 | quote }}
- name: STIGMA_OUTGOING_MAX_TOTAL_BYTES
  value: {{ .Values.calls.maxTotalBytes | int64 | quote }}
- name: STIGMA_OUTGOING_MAX_HEADER_BYTES
  value: {{ .Values.calls.maxHeaderBytes | int64 | quote }}
- name: STIGMA_OUTGOING_CONNECT_TIMEOUT
  value: {{ .Values.calls.connectTimeoutSeconds | quote }}
- name: STIGMA_OUTGOING_MAX_REDIRECTS
  value: {{ .Values.calls.maxRedirects | int64 | quote }}
{{- with include "zigflow-worker.callsCa" . }}
- name: SSL_CERT_FILE
  value: /etc/stigma/calls-ca/{{ . }}
{{- end }}
{{- if .Values.calls.secrets }}
- name: STIGMA_SECRETS_DIR
  value: /etc/stigma/secrets
{{- end }}
{{- if .Values.calls.resources }}
- name: STIGMA_RESOURCES_DIR
  value: /etc/stigma/resources
{{- end }}
{{- if include "zigflow-worker.documents" . }}
- name: STIGMA_WORKFLOWS_DIR
  value: /etc/stigma/workflows
{{- end }}
{{ include "zigflow-worker.apiEnvironment" . | trim }}
{{- include "stigma.proxyEnvironment" . }}
{{- end -}}

{{/* Task queues and the kinds of tasks in them: what pods are scaled by. */}}
{{- define "zigflow-worker.queues" -}}
zigflow: workflow,activity
{{- end -}}

{{- define "zigflow-worker.volumes" -}}
{{- with include "zigflow-worker.documents" . }}
- name: workflows
  configMap: { name: {{ . | quote }} }
{{- end }}
{{- with include "zigflow-worker.callsCa" . }}
- name: calls-ca
  {{- if $.Values.calls.caSecret.name }}
  secret:
    secretName: {{ $.Values.calls.caSecret.name | quote }}
  {{- else }}
  configMap:
    name: {{ $.Values.calls.caConfigMap.name | quote }}
  {{- end }}
    items: [{ key: {{ . | quote }}, path: {{ . | quote }} }]
{{- end }}
{{- with .Values.calls.secrets }}
- name: secrets
  projected: { sources: {{ toJson . }} }
{{- end }}
{{- with .Values.calls.resources }}
- name: resources
  projected: { sources: {{ toJson . }} }
{{- end }}
{{- include "zigflow-worker.apiVolumes" . }}
{{- end -}}

{{/* File name of the authorities that calls trust; nothing: the system's. */}}
{{- define "zigflow-worker.callsCa" -}}
{{- $secret := .Values.calls.caSecret -}}
{{- $configMap := .Values.calls.caConfigMap -}}
{{- if and $secret.name $configMap.name -}}
{{- fail "calls.caSecret and calls.caConfigMap exclude each other" -}}
{{- end -}}
{{- if or $secret.name $configMap.name -}}
{{- range .Values.extraEnv -}}
{{- if eq .name "SSL_CERT_FILE" -}}
{{- fail "calls.caSecret or calls.caConfigMap sets SSL_CERT_FILE: take it out of extraEnv" -}}
{{- end -}}
{{- end -}}
{{- ternary $secret.key $configMap.key (ne $secret.name "") -}}
{{- end -}}
{{- end -}}

{{- define "zigflow-worker.checksums" -}}

{{- end -}}

{{- define "zigflow-worker.egress" -}}
{{ include "zigflow-worker.egressToApi" . }}
{{ include "stigma.outbound" . }}
{{- end -}}

{{- define "zigflow-worker.egressToApi" -}}
{{ include "stigma.egressTo" (list .Values.api.networkPolicyTo (include "zigflow-worker.apiAddress" .) "7300") }}
{{- end -}}

{{- define "zigflow-worker.strategy" -}}
{{ include "stigma.rollingUpdate" . }}
{{- end -}}

{{- define "zigflow-worker.stateVolume" -}}
{{ include "stigma.emptyState" . }}
{{- end -}}

{{/* It asks for its work, and stops asking when it is told to end. */}}
{{- define "zigflow-worker.drainSeconds" -}}0{{- end -}}

{{/* It serves nothing but its admin port. */}}
{{- define "zigflow-worker.ports" -}}{{- end -}}
{{- define "zigflow-worker.servicePorts" -}}{{- end -}}
{{- define "zigflow-worker.policyPorts" -}}[]{{- end -}}

{{/* Name of the ConfigMap with documents; nothing where there is none. */}}
{{- define "zigflow-worker.documents" -}}
{{- if .Values.existingConfigMap -}}
{{- .Values.existingConfigMap -}}
{{- else if .Values.workflows -}}
{{- include "stigma.fullname" . }}-workflows
{{- end -}}
{{- end -}}

{{- define "zigflow-worker.configMap" -}}
{{- if and .Values.workflows (not .Values.existingConfigMap) -}}
apiVersion: v1
kind: ConfigMap
metadata:
  {{- include "stigma.metadata" (list . "-workflows") | nindent 2 }}
data: {{ toYaml .Values.workflows | nindent 2 }}
{{- end -}}
{{- end -}}
