{{/*
The name of a chart's objects, from its name and the release's: `stigma-api` in a release `stigma`,
`x-stigma-api` in a release `x`. 48 characters at most, so that suffixes fit into 63. A name of a
Service is a DNS label that begins with a letter, whereas a release's may have dots, and a digit
first.
*/}}
{{- define "stigma.nameOf" -}}
{{- $name := index . 1 -}}
{{- $release := include "stigma.label" (index . 0) -}}
{{- $namesAnother := false -}}
{{- range without (list "stigma-api" "stigma-orchestrator" "ai-worker" "zigflow-worker") $name -}}
{{- $namesAnother = or $namesAnother (contains . $release) -}}
{{- end -}}
{{- if and (contains $name $release) (not $namesAnother) -}}
{{- include "stigma.cut" (list $release 48) -}}
{{- else if hasPrefix (printf "%s-" $release) $name -}}
{{- $name -}}
{{- else -}}
{{- printf "%s-%s" (include "stigma.cut" (list $release (sub 47 (len $name)))) $name -}}
{{- end -}}
{{- end -}}

{{/* A release's name as a part of a DNS label that begins with it. */}}
{{- define "stigma.label" -}}
{{- $label := . | replace "." "-" -}}
{{- if regexMatch "^[0-9]" $label }}r{{ end }}{{ $label -}}
{{- end -}}

{{/* A text of at most so many characters; one that is cut ends in a hash of the whole. */}}
{{- define "stigma.cut" -}}
{{- $text := index . 0 -}}
{{- $most := index . 1 | int -}}
{{- if le (len $text) $most -}}
{{- $text -}}
{{- else -}}
{{- printf "%s-%s" ($text | trunc (sub $most 7 | int) | trimSuffix "-") (sha256sum $text | trunc 6) -}}
{{- end -}}
{{- end -}}

{{- define "stigma.name" -}}
{{- .Values.nameOverride | default .Chart.Name -}}
{{- end -}}

{{- define "stigma.fullname" -}}
{{- .Values.fullnameOverride | default (include "stigma.nameOf" (list .Release.Name (include "stigma.name" .))) -}}
{{- end -}}

{{/* What selects a chart's pods: it must never change. */}}
{{- define "stigma.selectorLabels" -}}
app.kubernetes.io/name: {{ include "stigma.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "stigma.labels" -}}
{{ include "stigma.selectorLabels" . }}
app.kubernetes.io/part-of: stigma
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Name, namespace and labels of an object; takes a list of the context and the name's suffix. */}}
{{- define "stigma.metadata" -}}
{{- $context := index . 0 -}}
name: {{ include "stigma.fullname" $context }}{{ index . 1 }}
namespace: {{ $context.Release.Namespace }}
labels:
  {{- include "stigma.labels" $context | nindent 2 }}
{{- end -}}

{{/* The same for what is not one of the service's pods, and must not be taken for one. */}}
{{- define "stigma.auxiliaryMetadata" -}}
{{- $context := index . 0 -}}
name: {{ include "stigma.fullname" $context }}{{ index . 1 }}
namespace: {{ $context.Release.Namespace }}
labels:
  {{- include "stigma.auxiliaryLabels" . | nindent 2 }}
{{- end -}}

{{- define "stigma.auxiliaryLabels" -}}
{{- $context := index . 0 -}}
app.kubernetes.io/name: {{ include "stigma.name" $context }}{{ index . 1 }}
app.kubernetes.io/instance: {{ $context.Release.Name }}
app.kubernetes.io/part-of: stigma
{{- end -}}

{{- define "stigma.serviceAccountName" -}}
{{- with .Values.serviceAccount -}}
{{- if .create -}}
{{- .name | default (include "stigma.fullname" $) -}}
{{- else -}}
{{- .name | default "default" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "stigma.image" -}}
{{- $image := .Values.image -}}
{{- $repository := $image.repository -}}
{{- if $image.registry -}}
{{- $repository = printf "%s/%s" $image.registry $image.repository -}}
{{- end -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository ($image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* Admin port of a service: the same in its image, its probes and its Service. */}}
{{- define "stigma.adminPort" -}}
{{- get (dict "stigma-api" 7310 "stigma-orchestrator" 7311 "ai-worker" 7312 "zigflow-worker" 7313) .Chart.Name -}}
{{- end -}}

{{- define "stigma.isWorker" -}}
{{- if ne .Chart.Name "stigma-api" }}yes{{ end -}}
{{- end -}}

{{/* Whether the Temporal Worker Controller runs the pods: "yes" or nothing. */}}
{{- define "stigma.isVersioned" -}}
{{- if and (include "stigma.isWorker" .) (eq (dig "versioning" "mode" "none" .Values) "controller") }}yes{{ end -}}
{{- end -}}

{{/* What a chart renders under a hook's name, if it defines it: list of context and name. */}}
{{- define "stigma.hook" -}}
{{- include (printf "%s.%s" (index . 0).Chart.Name (index . 1)) (index . 0) -}}
{{- end -}}
