{{- define "stigma.podDisruptionBudget" -}}
{{- if .Values.podDisruptionBudget.enabled -}}
{{- if include "stigma.isVersioned" . -}}
apiVersion: temporal.io/v1alpha1
kind: WorkerResourceTemplate
metadata:
  {{- include "stigma.metadata" (list . "-pdb") | nindent 2 }}
spec:
  workerDeploymentRef: { name: {{ include "stigma.fullname" . }} }
  template:
    apiVersion: policy/v1
    kind: PodDisruptionBudget
    spec:
      maxUnavailable: {{ .Values.podDisruptionBudget.maxUnavailable }}
      # The controller fills in each version's labels.
      selector: { matchLabels: {} }
{{- else -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "stigma.metadata" (list . "") | nindent 2 }}
spec:
  maxUnavailable: {{ .Values.podDisruptionBudget.maxUnavailable }}
  # A pod that is not ready does no work: a drain may take it.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "stigma.selectorLabels" . | nindent 6 }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Pods of the API, by CPU. */}}
{{- define "stigma.horizontalPodAutoscaler" -}}
{{- with .Values.autoscaling -}}
{{- if .enabled -}}
{{- if gt (int .minReplicas) (int .maxReplicas) -}}
{{- fail "autoscaling.minReplicas is larger than autoscaling.maxReplicas" -}}
{{- end -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "stigma.metadata" (list $ "") | nindent 2 }}
spec:
  scaleTargetRef: { apiVersion: apps/v1, kind: Deployment, name: {{ include "stigma.fullname" $ }} }
  minReplicas: {{ .minReplicas }}
  maxReplicas: {{ .maxReplicas }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target: { type: Utilization, averageUtilization: {{ .targetCPU }} }
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Pods of a worker, by the backlog of its task queues. */}}
{{- define "stigma.scaledObject" -}}
{{- with .Values.autoscaling -}}
{{- if .enabled -}}
{{- if gt (int .minReplicas) (int .maxReplicas) -}}
{{- fail "autoscaling.minReplicas is larger than autoscaling.maxReplicas" -}}
{{- end -}}
{{- include "stigma.requireKeda" $ -}}
{{- if include "stigma.isVersioned" $ -}}
apiVersion: temporal.io/v1alpha1
kind: WorkerResourceTemplate
metadata:
  {{- include "stigma.metadata" (list $ "-keda") | nindent 2 }}
spec:
  workerDeploymentRef: { name: {{ include "stigma.fullname" $ }} }
  template:
    apiVersion: keda.sh/v1alpha1
    kind: ScaledObject
    spec:
      # The controller fills in each version's Deployment.
      scaleTargetRef: {}
      {{- include "stigma.scaling" $ | nindent 6 }}
{{- else -}}
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  {{- include "stigma.metadata" (list $ "") | nindent 2 }}
spec:
  scaleTargetRef: { apiVersion: apps/v1, kind: Deployment, name: {{ include "stigma.fullname" $ }} }
  {{- include "stigma.scaling" $ | nindent 2 }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "stigma.scaling" -}}
minReplicaCount: {{ .Values.autoscaling.minReplicas }}
maxReplicaCount: {{ .Values.autoscaling.maxReplicas }}
pollingInterval: {{ .Values.autoscaling.pollingInterval }}
advanced:
  horizontalPodAutoscalerConfig:
    behavior:
      scaleDown: { stabilizationWindowSeconds: {{ .Values.autoscaling.stabilizationSeconds }} }
triggers:
  {{- range $queue, $types := include "stigma.hook" (list . "queues") | fromYaml }}
  - type: temporal
    metadata:
      endpoint: {{ include "stigma.temporalAddressAnywhere" $ | quote }}
      namespace: {{ $.Values.temporal.namespace | quote }}
      taskQueue: {{ printf "%s%s" $.Values.taskQueuePrefix $queue | quote }}
      queueTypes: {{ $types }}
      targetQueueSize: {{ $.Values.autoscaling.targetQueueSize | quote }}
      enableTLS: {{ or $.Values.temporal.tls.enabled (ne $.Values.temporal.apiKeySecret.name "") | quote }}
      {{- with include "stigma.temporalServerNameAnywhere" $ }}
      tlsServerName: {{ . | quote }}
      {{- end }}
      {{- if include "stigma.isVersioned" $ }}
      # The controller sets these in each version's pods.
      workerDeploymentNameFromEnv: TEMPORAL_DEPLOYMENT_NAME
      workerDeploymentBuildIdFromEnv: TEMPORAL_WORKER_BUILD_ID
      {{- end }}
    {{- if include "stigma.kedaSecrets" $ }}
    authenticationRef: { name: {{ include "stigma.fullname" $ }} }
    {{- end }}
  {{- end }}
{{- end -}}

{{- define "stigma.kedaSecrets" -}}
{{- $temporal := .Values.temporal -}}
{{- with $temporal.apiKeySecret }}
{{- if .name }}
- { parameter: apiKey, name: {{ .name | quote }}, key: {{ .key | quote }} }
{{- end }}
{{- end }}
{{- with $temporal.tls }}
{{- if .caSecret.name }}
- { parameter: ca, name: {{ .caSecret.name | quote }}, key: {{ .caSecret.key | quote }} }
{{- end }}
{{- if .clientSecret.name }}
- { parameter: cert, name: {{ .clientSecret.name | quote }}, key: tls.crt }
- { parameter: key, name: {{ .clientSecret.name | quote }}, key: tls.key }
{{- end }}
{{- end }}
{{- end -}}

{{- define "stigma.triggerAuthentication" -}}
{{- $secrets := include "stigma.kedaSecrets" . | trim -}}
{{- if and .Values.autoscaling.enabled $secrets -}}
apiVersion: keda.sh/v1alpha1
kind: TriggerAuthentication
metadata:
  {{- include "stigma.metadata" (list . "") | nindent 2 }}
spec:
  secretTargetRef:
    {{- $secrets | nindent 4 }}
{{- end -}}
{{- end -}}
