{{/* How browsers outside the cluster reach the console: by an Ingress, or by a Gateway. */}}
{{- define "stigma-api.consoleIngress" -}}
{{- $ingress := .Values.console.ingress -}}
{{- if $ingress.enabled -}}
{{- include "stigma-api.requireConsole" (list . "console.ingress" $ingress.host) -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  {{- include "stigma.metadata" (list . "-console") | nindent 2 }}
  {{- with $ingress.annotations }}
  annotations: {{ toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- with $ingress.className }}
  ingressClassName: {{ . | quote }}
  {{- end }}
  # Keys and sessions go over it: never in clear.
  tls:
    - hosts: [{{ $ingress.host | quote }}]
      {{- with $ingress.tlsSecret }}
      secretName: {{ . | quote }}
      {{- end }}
  rules:
    - host: {{ $ingress.host | quote }}
      http:
        paths:
          - path: /
            pathType: Prefix
            backend: { service: { name: {{ include "stigma.fullname" . }}-console, port: { name: console } } }
{{- end -}}
{{- end -}}

{{/* A Gateway of its own, where there is none to join. */}}
{{- define "stigma-api.consoleGateway" -}}
{{- $gateway := .Values.console.gateway -}}
{{- if and $gateway.enabled (not $gateway.parentRefs) -}}
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  {{- include "stigma.metadata" (list . "-console") | nindent 2 }}
  {{- with $gateway.annotations }}
  annotations: {{ toYaml . | nindent 4 }}
  {{- end }}
spec:
  gatewayClassName: {{ required "console.gateway.className is needed for a Gateway of its own; or set console.gateway.parentRefs to one that is there" $gateway.className | quote }}
  listeners:
    - name: console
      port: 443
      protocol: HTTPS
      hostname: {{ $gateway.host | quote }}
      tls:
        mode: Terminate
        certificateRefs:
          - { kind: Secret, name: {{ required "console.gateway.tlsSecret is needed for a Gateway of its own: a Secret of type kubernetes.io/tls" $gateway.tlsSecret | quote }} }
      allowedRoutes:
        namespaces: { from: Same }
{{- end -}}
{{- end -}}

{{- define "stigma-api.consoleRoute" -}}
{{- $gateway := .Values.console.gateway -}}
{{- if $gateway.enabled -}}
{{- include "stigma-api.requireConsole" (list . "console.gateway" $gateway.host) -}}
{{- include "stigma.requireKind" (list . "gateway.networking.k8s.io/v1/HTTPRoute" "console.gateway.enabled" "the Gateway API" "https://gateway-api.sigs.k8s.io/guides/" "console.gateway.enabled=false") -}}
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  {{- include "stigma.metadata" (list . "-console") | nindent 2 }}
spec:
  {{- if $gateway.parentRefs }}
  parentRefs: {{ toYaml $gateway.parentRefs | nindent 4 }}
  {{- else }}
  parentRefs: [{ name: {{ include "stigma.fullname" . }}-console }]
  {{- end }}
  hostnames: [{{ $gateway.host | quote }}]
  rules:
    - matches: [{ path: { type: PathPrefix, value: / } }]
      backendRefs: [{ name: {{ include "stigma.fullname" . }}-console, port: 7301 }]
{{- end -}}
{{- end -}}

{{/* Takes a list: context, the section of values, and its host. */}}
{{- define "stigma-api.requireConsole" -}}
{{- if not (index . 0).Values.console.enabled -}}
{{- fail (printf "%s.enabled is of no use without console.enabled" (index . 1)) -}}
{{- end -}}
{{- $_ := required (printf "%s.host is needed: the name by which browsers reach the console" (index . 1)) (index . 2) -}}
{{- end -}}
