{{- define "stigma.monitoringMetadata" -}}
{{- $context := index . 0 -}}
{{ include "stigma.metadata" . }}
  {{- with $context.Values.monitoring.labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* The job label of every metric is the chart's name: alerts rely on it. */}}
{{- define "stigma.serviceMonitor" -}}
{{- if .Values.monitoring.scrape.enabled -}}
{{- include "stigma.requirePrometheusOperator" (list . "ServiceMonitor" "monitoring.scrape.enabled") -}}
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  {{- include "stigma.monitoringMetadata" (list . "") | nindent 2 }}
spec:
  jobLabel: app.kubernetes.io/name
  selector:
    matchLabels:
      {{- include "stigma.selectorLabels" . | nindent 6 }}
      stigma/scrape: "true"
  endpoints: [{ port: admin, path: /metrics, interval: {{ .Values.monitoring.scrape.interval }} }]
{{- end -}}
{{- end -}}

{{- define "stigma.podMonitor" -}}
{{- if .Values.monitoring.scrape.enabled -}}
{{- include "stigma.requirePrometheusOperator" (list . "PodMonitor" "monitoring.scrape.enabled") -}}
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata:
  {{- include "stigma.monitoringMetadata" (list . "") | nindent 2 }}
spec:
  jobLabel: app.kubernetes.io/name
  selector:
    matchLabels:
      {{- include "stigma.selectorLabels" . | nindent 6 }}
  podMetricsEndpoints: [{ port: admin, path: /metrics, interval: {{ .Values.monitoring.scrape.interval }} }]
{{- end -}}
{{- end -}}

{{/* Prometheus's own templating uses the same braces: the file is not a template. */}}
{{- define "stigma.prometheusRule" -}}
{{- if .Values.monitoring.rules.enabled -}}
{{- include "stigma.requirePrometheusOperator" (list . "PrometheusRule" "monitoring.rules.enabled") -}}
{{- with .Files.Get "files/rules.yaml" -}}
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  {{- include "stigma.monitoringMetadata" (list $ "") | nindent 2 }}
spec:
  {{- . | replace (include "stigma.runbooks" $) $.Values.monitoring.rules.runbooks | nindent 2 }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Where files/rules.yaml, which works without Helm too, says the runbooks are. */}}
{{- define "stigma.runbooks" -}}
https://github.com/stigma-dev/stigma/blob/main/docs/runbooks/
{{- end -}}

{{- define "stigma.dashboards" -}}
{{- if .Values.monitoring.dashboard.enabled -}}
{{- range $path, $content := .Files.Glob "files/dashboards/*.json" }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  {{- include "stigma.monitoringMetadata" (list $ (printf "-%s" (base $path | trimSuffix ".json"))) | nindent 2 }}
    grafana_dashboard: "1"
data:
  {{ base $path }}: {{ $content | toString | toJson }}
{{- end }}
{{- end -}}
{{- end -}}
