{{/* Who the pod may be reached by, and whom it may reach. */}}
{{- define "stigma.networkPolicy" -}}
{{- $policy := .Values.networkPolicy -}}
{{- if $policy.enabled -}}
{{- $sameRelease := dict "podSelector" (dict "matchLabels" (dict "app.kubernetes.io/part-of" "stigma" "app.kubernetes.io/instance" .Release.Name)) -}}
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
    - from: {{ toYaml (prepend ($policy.from | default (list $inNamespace)) $sameRelease) | nindent 8 }}
      ports:
        - { protocol: TCP, port: admin }
        {{- range $servicePorts }}
        - { protocol: TCP, port: {{ . }} }
        {{- end }}
    {{- with $policy.monitoringFrom }}
    - from: {{ toYaml . | nindent 8 }}
      ports: [{ protocol: TCP, port: admin }]
    {{- end }}
  egress:
    - to: [{ namespaceSelector: {} }]
      ports: [{ protocol: UDP, port: 53 }, { protocol: TCP, port: 53 }]
    {{- include "stigma.egressTo" (list (include "stigma.temporalPeers" . | fromYamlArray) (include "stigma.temporalAddress" .) "") | nindent 4 }}
    {{- with .Values.otel.endpoint }}
    {{- include "stigma.egressTo" (list $policy.otelTo . "4317") | nindent 4 }}
    {{- end }}
    {{- include "stigma.hook" (list . "egress") | trim | nindent 4 }}
    {{- with $policy.allowedCidrs }}
    - to:
        {{- range . }}
        - ipBlock: { cidr: {{ . | quote }} }
        {{- end }}
    {{- end }}
    {{- with $policy.extraEgress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
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
