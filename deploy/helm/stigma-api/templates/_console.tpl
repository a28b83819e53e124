{{- define "stigma-api.consoleSecretName" -}}
{{- .Values.console.sessionSecret.name | default (printf "%s-console" (include "stigma.fullname" .)) -}}
{{- end -}}

{{/* What signs sessions: what an upgrade finds in the cluster stays. */}}
{{- define "stigma-api.consoleSecret" -}}
{{- if and .Values.console.enabled (not .Values.console.sessionSecret.name) -}}
{{- $known := dig "data" "session-secret" "" (lookup "v1" "Secret" .Release.Namespace (include "stigma-api.consoleSecretName" .) | default dict) -}}
apiVersion: v1
kind: Secret
metadata:
  {{- include "stigma.metadata" (list . "-console") | nindent 2 }}
type: Opaque
stringData:
  session-secret: {{ $known | b64dec | default (randAlphaNum 40) | quote }}
{{- end -}}
{{- end -}}

{{/* A Service of its own: the API's may be a load balancer that others reach. */}}
{{- define "stigma-api.consoleService" -}}
{{- if .Values.console.enabled -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "stigma.metadata" (list . "-console") | nindent 2 }}
spec:
  type: ClusterIP
  selector:
    {{- include "stigma.selectorLabels" . | nindent 4 }}
  ports:
    - { name: console, port: 7301, targetPort: console, appProtocol: {{ ternary "https" "http" .Values.tls.enabled }} }
{{- end -}}
{{- end -}}
