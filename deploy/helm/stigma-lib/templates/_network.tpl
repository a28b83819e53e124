{{/* Who the pod may be reached by, and whom it may reach. */}}
{{- define "stigma.networkPolicy" -}}
{{- $policy := .Values.networkPolicy -}}
{{- if $policy.enabled -}}
{{- $sameRelease := include "stigma.sameRelease" . | fromYaml -}}
{{- $inNamespace := dict "podSelector" dict -}}
{{- $servicePorts := include "stigma.hook" (list . "policyPorts") | fromYamlArray -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "stigma.metadata" (list . "") | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "stigma.selectorLabels" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    - from: {{ toYaml (prepend ($policy.monitoringFrom | default (list $inNamespace)) $sameRelease) | nindent 8 }}
      ports: [{ protocol: TCP, port: admin }]
    {{- if $servicePorts }}
    - from: {{ toYaml (prepend ($policy.from | default (list $inNamespace)) $sameRelease) | nindent 8 }}
      ports:
        {{- range $servicePorts }}
        - { protocol: TCP, port: {{ . }} }
        {{- end }}
    {{- end }}
  egress:
    {{- include "stigma.egressToDns" . | nindent 4 }}
    {{- include "stigma.egressToTemporal" . | nindent 4 }}
    {{- with .Values.otel.endpoint }}
    {{- include "stigma.egressTo" (list $policy.otelTo . "4317") | nindent 4 }}
    {{- end }}
    {{- include "stigma.hook" (list . "egress") | trim | nindent 4 }}
    {{- include "stigma.listedEgress" . | trim | nindent 4 }}
{{- end -}}
{{- end -}}

{{- define "stigma.sameRelease" -}}
podSelector: { matchLabels: { app.kubernetes.io/part-of: stigma, app.kubernetes.io/instance: {{ .Release.Name }} } }
{{- end -}}

{{- define "stigma.egressToDns" -}}
- to: {{ toYaml (.Values.networkPolicy.dnsTo | default (list (dict "namespaceSelector" dict))) | nindent 4 }}
  ports:
    {{- range .Values.networkPolicy.dnsPorts }}
    - { protocol: UDP, port: {{ . }} }
    - { protocol: TCP, port: {{ . }} }
    {{- end }}
{{- end -}}

{{- define "stigma.egressToTemporal" -}}
{{ include "stigma.egressTo" (list (include "stigma.temporalPeers" . | fromYamlArray) (include "stigma.temporalAddress" .) "") }}
{{- end -}}

{{/* What values list for every pod. */}}
{{- define "stigma.listedEgress" -}}
{{- with .Values.networkPolicy.allowedCidrs }}
- to:
    {{- range . }}
    - ipBlock: { cidr: {{ . | quote }} }
    {{- end }}
{{- end }}
{{- with .Values.networkPolicy.extraEgress }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/*
Of pods that are not the service's: nobody reaches them, and they reach DNS and what they need. Takes
a list: context, the suffix of their labels' name, rules of egress (YAML).
*/}}
{{- define "stigma.auxiliaryNetworkPolicy" -}}
{{- $context := index . 0 -}}
{{- if $context.Values.networkPolicy.enabled -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "stigma.auxiliaryMetadata" (list $context (index . 1)) | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "stigma.auxiliaryLabels" (list $context (index . 1)) | nindent 6 }}
  {{- include "stigma.auxiliaryTraffic" (list $context (index . 2)) | nindent 2 }}
{{- end -}}
{{- end -}}

{{- define "stigma.auxiliaryTraffic" -}}
{{- $context := index . 0 -}}
policyTypes: [Ingress, Egress]
ingress: []
egress:
  {{- include "stigma.egressToDns" $context | nindent 2 }}
  {{- index . 1 | trim | nindent 2 }}
  {{- with include "stigma.listedEgress" $context | trim }}
  {{- . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* Of the pod of `helm test`. */}}
{{- define "stigma.testNetworkPolicy" -}}
{{- $service := dict "podSelector" (dict "matchLabels" (include "stigma.selectorLabels" . | fromYaml)) -}}
{{- include "stigma.auxiliaryNetworkPolicy" (list . "-test-ready" (include "stigma.egressTo" (list (list $service) "" (include "stigma.adminPort" .)))) -}}
{{- end -}}

{{/* Where Temporal is: as told, the umbrella's dev server, or anywhere. */}}
{{- define "stigma.temporalPeers" -}}
{{- if .Values.networkPolicy.temporalTo -}}
{{ toYaml .Values.networkPolicy.temporalTo }}
{{- else if not .Values.temporal.address -}}
- podSelector: { matchLabels: { app.kubernetes.io/name: temporal, app.kubernetes.io/instance: {{ .Release.Name }} } }
{{- else -}}
[]
{{- end -}}
{{- end -}}

{{/* A rule to some peers (none: anywhere) on an address's port; list of peers, address, default port. */}}
{{- define "stigma.egressTo" -}}
{{- $port := regexFind ":[0-9]+/*$" (index . 1) | trimPrefix ":" | trimSuffix "/" | default (index . 2) -}}
- ports: [{ protocol: TCP, port: {{ $port }} }]
  {{- with index . 0 }}
  to: {{ toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* The proxy, or the internet without private ranges and metadata addresses. */}}
{{- define "stigma.outbound" -}}
{{- with .Values.egress.proxy.url }}
{{ include "stigma.egressTo" (list list . "3128") }}
{{- end }}
{{- if .Values.egress.internet }}
{{ include "stigma.internet" .Values.egress.ports }}
{{- end }}
{{- end -}}

{{- define "stigma.internet" -}}
- to:
    - ipBlock:
        cidr: 0.0.0.0/0
        except: [0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 168.63.129.16/32, 169.254.0.0/16, 172.16.0.0/12, 192.0.0.0/24, 192.168.0.0/16, 198.18.0.0/15, 224.0.0.0/4, 240.0.0.0/4]
    - ipBlock:
        # Global addresses only; those of metadata services, unique local and mapped ones are others.
        cidr: 2000::/3
  ports:
    {{- range . }}
    - { protocol: TCP, port: {{ . }} }
    {{- end }}
{{- end -}}
