{{/* How the engine, and the umbrella's test, reach Stigma's API. */}}
{{- define "zigflow-worker.apiAddress" -}}
{{- if .Values.api.address -}}
{{- .Values.api.address -}}
{{- else if .Values.umbrella -}}
{{- include "stigma.nameOf" (list .Release.Name "stigma-api") }}-headless:7300
{{- else -}}
{{- fail "api.address is needed: where Stigma's API is, for instance --set api.address=stigma-api-headless:7300" -}}
{{- end -}}
{{- end -}}

{{- define "zigflow-worker.apiKeySecret" -}}
{{- if .Values.api.keySecret.name -}}
{{- .Values.api.keySecret.name -}}
{{- else if and .Values.umbrella (not .Values.api.address) (not .Values.api.tls.clientSecret.name) -}}
{{- include "stigma.nameOf" (list .Release.Name "stigma-api") }}-auth
{{- end -}}
{{- end -}}

{{- define "zigflow-worker.apiEnvironment" -}}
{{- $secret := include "zigflow-worker.apiKeySecret" . -}}
{{- $tls := .Values.api.tls -}}
- name: STIGMA_API_ADDRESS
  value: {{ include "zigflow-worker.apiAddress" . | quote }}
{{- if $secret }}
- name: STIGMA_API_KEY
  valueFrom:
    secretKeyRef: { name: {{ $secret | quote }}, key: {{ .Values.api.keySecret.key | quote }} }
{{- end }}
{{- if $tls.enabled }}
- name: STIGMA_API_TLS
  value: "true"
{{- if $tls.serverName }}
- name: STIGMA_API_TLS_SERVER_NAME
  value: {{ $tls.serverName | quote }}
{{- end }}
{{- if $tls.caSecret.name }}
- name: STIGMA_API_TLS_CA
  value: /etc/stigma/api-ca/{{ $tls.caSecret.key }}
{{- end }}
{{- if $tls.clientSecret.name }}
- name: STIGMA_API_TLS_CLIENT_CERT
  value: /etc/stigma/api-client/tls.crt
- name: STIGMA_API_TLS_CLIENT_KEY
  value: /etc/stigma/api-client/tls.key
{{- end }}
{{- else if or .Values.api.allowInsecure (and .Values.umbrella (not .Values.api.address)) }}
- name: STIGMA_API_ALLOW_INSECURE
  value: "true"
{{- else if $secret }}
{{- fail "the API key would go over the network in clear: set api.tls.enabled=true, or api.allowInsecure=true where that is meant" }}
{{- end }}
{{- end -}}

{{- define "zigflow-worker.apiVolumes" -}}
{{- $tls := .Values.api.tls -}}
{{- if $tls.enabled }}
{{- if $tls.caSecret.name }}
- name: api-ca
  secret:
    secretName: {{ $tls.caSecret.name | quote }}
    items: [{ key: {{ $tls.caSecret.key | quote }}, path: {{ $tls.caSecret.key | quote }} }]
{{- end }}
{{- if $tls.clientSecret.name }}
- name: api-client
  secret: { secretName: {{ $tls.clientSecret.name | quote }} }
{{- end }}
{{- end }}
{{- end -}}
