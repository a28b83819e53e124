{{- define "stigma-api.authSecret" -}}
{{- .Values.auth.existingSecret | default (printf "%s-auth" (include "stigma.fullname" .)) -}}
{{- end -}}

{{/* The principals file, and the generated key: what an upgrade finds in the cluster stays. */}}
{{- define "stigma-api.auth" -}}
{{- if not .Values.auth.existingSecret -}}
{{- $name := include "stigma-api.authSecret" . -}}
{{- $principals := .Values.auth.principals -}}
{{- $key := "" -}}
{{- if .Values.auth.generatedKey -}}
{{- $known := dig "data" "api-key" "" (lookup "v1" "Secret" .Release.Namespace $name | default dict) -}}
{{- $key = $known | b64dec | default (randAlphaNum 40) -}}
{{- $actions := list "agents.read" "agents.apply" "agents.delete" "agents.inline" "workflows.read" "workflows.apply" "workflows.delete" "workflows.inline" "executions.start" "executions.read" "executions.cancel" -}}
{{- $principals = append $principals (dict "name" "stigma" "key_sha256" (list (sha256sum $key)) "actions" $actions) -}}
{{- else if not $principals -}}
{{- fail "nobody could call the API: set auth.generatedKey, auth.principals or auth.existingSecret" -}}
{{- end -}}
apiVersion: v1
kind: Secret
metadata:
  {{- include "stigma.metadata" (list . "-auth") | nindent 2 }}
type: Opaque
stringData:
  principals.yaml: {{ dict "principals" $principals | toYaml | quote }}
  {{- with $key }}
  api-key: {{ . | quote }}
  {{- end }}
{{- end -}}
{{- end -}}
