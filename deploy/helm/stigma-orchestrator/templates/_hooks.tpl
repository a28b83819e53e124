{{/* What the shared templates ask this chart for. */}}
{{- define "stigma-orchestrator.environment" -}}
- name: STIGMA_MAX_CACHED_WORKFLOWS
  value: {{ .Values.limits.maxCachedWorkflows | int64 | quote }}
- name: STIGMA_MAX_CONCURRENT_WORKFLOW_TASKS
  value: {{ .Values.limits.maxConcurrentWorkflowTasks | int64 | quote }}
- name: STIGMA_MAX_CONCURRENT_DELIVERIES
  value: {{ .Values.limits.maxConcurrentDeliveries | int64 | quote }}
- name: STIGMA_MAX_CONCURRENT_CALLER_CHECKS
  value: {{ .Values.limits.maxConcurrentCallerChecks | int64 | quote }}
- name: STIGMA_MAX_KEPT_WATCHES
  value: {{ .Values.limits.maxKeptWatches | int64 | quote }}
{{- end -}}

{{/* Task queues and the kinds of tasks in them: what pods are scaled by. */}}
{{- define "stigma-orchestrator.queues" -}}
stigma: workflow,activity
stigma-watch: activity
{{- end -}}

{{- define "stigma-orchestrator.volumes" -}}

{{- end -}}

{{- define "stigma-orchestrator.checksums" -}}

{{- end -}}

{{- define "stigma-orchestrator.egress" -}}

{{- end -}}

{{- define "stigma-orchestrator.strategy" -}}
{{ include "stigma.rollingUpdate" . }}
{{- end -}}

{{- define "stigma-orchestrator.stateVolume" -}}
{{ include "stigma.emptyState" . }}
{{- end -}}

{{/* It asks for its work, and stops asking when it is told to end. */}}
{{- define "stigma-orchestrator.drainSeconds" -}}0{{- end -}}

{{/* It serves nothing but its admin port. */}}
{{- define "stigma-orchestrator.ports" -}}{{- end -}}
{{- define "stigma-orchestrator.servicePorts" -}}{{- end -}}
{{- define "stigma-orchestrator.policyPorts" -}}[]{{- end -}}
