{{- define "stigma.temporalAddress" -}}
{{- if .Values.temporal.address -}}
{{- .Values.temporal.address -}}
{{- else if .Values.umbrella -}}
{{- include "stigma.devServerName" . }}:7233
{{- else -}}
{{- fail "temporal.address is needed: where Temporal's frontend is, for instance --set temporal.address=temporal.example.com:7233" -}}
{{- end -}}
{{- end -}}

{{/*
Temporal's address for KEDA and the Worker Controller. They look names up in a namespace of their own,
where a Service's name alone is nobody's.
*/}}
{{- define "stigma.temporalAddressAnywhere" -}}
{{- $address := include "stigma.temporalAddress" . -}}
{{- $host := regexReplaceAll ":[0-9]+$" $address "" -}}
{{- if or (contains "." $host) (hasPrefix "[" $host) -}}
{{- $address -}}
{{- else -}}
{{- printf "%s.%s.svc:%s" $host .Release.Namespace (splitList ":" $address | last) -}}
{{- end -}}
{{- end -}}

{{/* And the name which they expect in its certificate: the one that the services expect. */}}
{{- define "stigma.temporalServerNameAnywhere" -}}
{{- $temporal := .Values.temporal -}}
{{- $host := regexReplaceAll ":[0-9]+$" (include "stigma.temporalAddress" .) "" -}}
{{- if $temporal.tls.serverName -}}
{{- $temporal.tls.serverName -}}
{{- else if and (or $temporal.tls.enabled $temporal.apiKeySecret.name) (not (contains "." $host)) (not (hasPrefix "[" $host)) -}}
{{- $host -}}
{{- end -}}
{{- end -}}

{{- define "stigma.devServerName" -}}
{{- printf "%s-temporal" (include "stigma.cut" (list (include "stigma.label" .Release.Name) 50)) -}}
{{- end -}}

{{/*
The variables of Temporal's own environment configuration. The Worker Controller sets the
connection's itself, from its Connection.
*/}}
{{- define "stigma.temporalEnvironment" -}}
{{- $temporal := .Values.temporal -}}
{{- $ours := not (include "stigma.isVersioned" .) -}}
{{- if $ours }}
- name: TEMPORAL_ADDRESS
  value: {{ include "stigma.temporalAddress" . | quote }}
- name: TEMPORAL_NAMESPACE
  value: {{ $temporal.namespace | quote }}
{{- with $temporal.apiKeySecret }}
{{- if .name }}
- name: TEMPORAL_API_KEY
  valueFrom:
    secretKeyRef: { name: {{ .name | quote }}, key: {{ .key | quote }} }
{{- end }}
{{- end }}
{{- end }}
{{- if or $temporal.tls.enabled $temporal.apiKeySecret.name }}
{{- if or $ours (not $temporal.tls.clientSecret.name) }}
- name: TEMPORAL_TLS
  value: "true"
{{- end }}
{{- if $temporal.tls.caSecret.name }}
- name: TEMPORAL_TLS_SERVER_CA_CERT_PATH
  value: /etc/stigma/temporal-ca/{{ $temporal.tls.caSecret.key }}
{{- end }}
{{- if and $ours $temporal.tls.serverName }}
- name: TEMPORAL_TLS_SERVER_NAME
  value: {{ $temporal.tls.serverName | quote }}
{{- end }}
{{- if and $ours $temporal.tls.clientSecret.name }}
- name: TEMPORAL_TLS_CLIENT_CERT_PATH
  value: /etc/stigma/temporal-client/tls.crt
- name: TEMPORAL_TLS_CLIENT_KEY_PATH
  value: /etc/stigma/temporal-client/tls.key
{{- end }}
{{- end }}
{{- end -}}

{{- define "stigma.temporalVolumes" -}}
{{- $tls := .Values.temporal.tls -}}
{{- if or $tls.enabled .Values.temporal.apiKeySecret.name }}
{{- if $tls.caSecret.name }}
- name: temporal-ca
  secret:
    secretName: {{ $tls.caSecret.name | quote }}
    items: [{ key: {{ $tls.caSecret.key | quote }}, path: {{ $tls.caSecret.key | quote }} }]
{{- end }}
{{- if and $tls.clientSecret.name (not (include "stigma.isVersioned" .)) }}
- name: temporal-client
  secret: { secretName: {{ $tls.clientSecret.name | quote }} }
{{- end }}
{{- end }}
{{- end -}}

{{/* Where the volumes of a list (YAML) are mounted: each under /etc/stigma, read-only. */}}
{{- define "stigma.mountsOf" -}}
{{- range (. | fromYamlArray) }}
- { name: {{ .name }}, mountPath: /etc/stigma/{{ .name }}, readOnly: true }
{{- end }}
{{- end -}}

{{/* Volumes, and their mounts, of a pod that connects to Temporal and is none of the service. */}}
{{- define "stigma.temporalAndExtraVolumes" -}}
{{ include "stigma.temporalVolumes" . | trim }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "stigma.temporalMounts" -}}
{{ include "stigma.mountsOf" (include "stigma.temporalVolumes" .) | trim }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What every service has, and then the chart's own. */}}
{{- define "stigma.environment" -}}
{{ include "stigma.temporalEnvironment" . | trim }}
- name: STIGMA_TASK_QUEUE_PREFIX
  value: {{ .Values.taskQueuePrefix | quote }}
- name: STIGMA_LOG_LEVEL
  value: {{ .Values.log.level }}
- name: STIGMA_LOG_FORMAT
  value: {{ .Values.log.format }}
- name: STIGMA_ADMIN_HOST
  value: {{ .Values.listenAddress | quote }}
- name: STIGMA_ADMIN_PORT
  value: {{ include "stigma.adminPort" . | quote }}
- name: STIGMA_SHUTDOWN_GRACE
  value: {{ .Values.shutdownGraceSeconds | quote }}
{{- with .Values.otel }}
{{- if .endpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ .endpoint | quote }}
{{- end }}
{{- if .headersSecret.name }}
- name: OTEL_EXPORTER_OTLP_HEADERS
  valueFrom:
    secretKeyRef: { name: {{ .headersSecret.name | quote }}, key: {{ .headersSecret.key | quote }} }
{{- end }}
{{- end }}
{{ include "stigma.hook" (list . "environment") | trim }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Only HTTP clients read these: gRPC looks for the names in lower case. */}}
{{- define "stigma.proxyEnvironment" -}}
{{- with .Values.egress.proxy }}
{{- if .url }}
- name: HTTPS_PROXY
  value: {{ .url | quote }}
- name: NO_PROXY
  value: {{ .noProxy | quote }}
{{- end }}
{{- end }}
{{- end -}}
