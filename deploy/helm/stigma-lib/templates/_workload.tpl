{{- define "stigma.workload" -}}
{{- if include "stigma.isVersioned" . -}}
{{ include "stigma.workerDeployment" . }}
{{- else -}}
{{ include "stigma.deployment" . }}
{{- end -}}
{{- end -}}

{{- define "stigma.deployment" -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "stigma.metadata" (list . "") | nindent 2 }}
spec:
  {{- if not .Values.autoscaling.enabled }}
  replicas: {{ .Values.replicas }}
  {{- end }}
  revisionHistoryLimit: 5
  strategy:
    {{- include "stigma.hook" (list . "strategy") | trim | nindent 4 }}
  selector:
    matchLabels:
      {{- include "stigma.selectorLabels" . | nindent 6 }}
  template:
    {{- include "stigma.podTemplate" . | nindent 4 }}
{{- end -}}

{{/* A new pod is ready before an old one goes. */}}
{{- define "stigma.rollingUpdate" -}}
type: RollingUpdate
rollingUpdate: { maxSurge: 1, maxUnavailable: 0 }
{{- end -}}

{{/* Of the Temporal Worker Controller: one Deployment for each version with running workflows. */}}
{{- define "stigma.workerDeployment" -}}
{{- $versioning := .Values.versioning -}}
{{- include "stigma.requireKind" (list . "temporal.io/v1alpha1/WorkerDeployment" "versioning.mode=controller" "the Temporal Worker Controller" "https://github.com/temporalio/temporal-worker-controller" "versioning.mode=none") -}}
apiVersion: temporal.io/v1alpha1
kind: WorkerDeployment
metadata:
  {{- include "stigma.metadata" (list . "") | nindent 2 }}
spec:
  {{- if not .Values.autoscaling.enabled }}
  replicas: {{ .Values.replicas }}
  {{- end }}
  workerOptions:
    connectionRef:
      name: {{ $versioning.connection | default (include "stigma.fullname" .) }}
    temporalNamespace: {{ .Values.temporal.namespace | quote }}
  rollout:
    strategy: {{ $versioning.rollout.strategy }}
    {{- if eq $versioning.rollout.strategy "Progressive" }}
    {{- if not $versioning.rollout.steps }}
    {{- fail "versioning.rollout.steps is needed with the strategy Progressive, for instance [{rampPercentage: 25, pauseDuration: 5m}]" }}
    {{- end }}
    steps: {{ toYaml $versioning.rollout.steps | nindent 6 }}
    {{- end }}
  sunset:
    scaledownDelay: {{ $versioning.sunset.scaledownDelay }}
    deleteDelay: {{ $versioning.sunset.deleteDelay }}
  template:
    {{- include "stigma.podTemplate" . | nindent 4 }}
{{- end -}}

{{- define "stigma.connection" -}}
{{- if and (include "stigma.isVersioned" .) (not .Values.versioning.connection) -}}
{{- $temporal := .Values.temporal -}}
apiVersion: temporal.io/v1alpha1
kind: Connection
metadata:
  {{- include "stigma.metadata" (list . "") | nindent 2 }}
spec:
  hostPort: {{ include "stigma.temporalAddressAnywhere" . | quote }}
  {{- with include "stigma.temporalServerNameAnywhere" . }}
  tls: { serverName: {{ . | quote }} }
  {{- end }}
  {{- if and $temporal.apiKeySecret.name $temporal.tls.clientSecret.name }}
  {{- fail "versioning.mode=controller takes temporal.apiKeySecret or temporal.tls.clientSecret, not both" }}
  {{- else if $temporal.apiKeySecret.name }}
  apiKeySecretRef: { name: {{ $temporal.apiKeySecret.name | quote }}, key: {{ $temporal.apiKeySecret.key | quote }} }
  {{- else if and $temporal.tls.enabled (not $temporal.tls.clientSecret.name) }}
  {{- fail "the Temporal Worker Controller talks TLS only with credentials: set temporal.apiKeySecret or temporal.tls.clientSecret" }}
  {{- else if $temporal.tls.clientSecret.name }}
  mutualTLSSecretRef: { name: {{ $temporal.tls.clientSecret.name | quote }} }
  {{- end }}
{{- end -}}
{{- end -}}

{{- define "stigma.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "stigma.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "stigma.labels" . | nindent 4 }}
  {{- with .Values.serviceAccount.annotations }}
  annotations: {{ toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end -}}
{{- end -}}

{{/* Headless: gRPC clients and tests see every ready pod behind the name. */}}
{{- define "stigma.headlessService" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "stigma.metadata" (list . "-headless") | nindent 2 }}
    stigma/scrape: "true"
spec:
  clusterIP: None
  selector:
    {{- include "stigma.selectorLabels" . | nindent 4 }}
  ports:
    - { name: admin, port: {{ include "stigma.adminPort" . }}, targetPort: admin }
    {{- include "stigma.hook" (list . "servicePorts") | trim | nindent 4 }}
{{- end -}}
