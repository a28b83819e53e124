{{- define "stigma-api.claim" -}}
{{- $sqlite := .Values.registry.sqlite -}}
{{- if and (include "stigma-api.isSqlite" .) (not $sqlite.existingClaim) -}}
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  {{- include "stigma.metadata" (list . "") | nindent 2 }}
  {{- if $sqlite.keep }}
  annotations: { helm.sh/resource-policy: keep }
  {{- end }}
spec:
  accessModes: [ReadWriteOnce]
  {{- with $sqlite.storageClass }}
  storageClassName: {{ . | quote }}
  {{- end }}
  resources: { requests: { storage: {{ $sqlite.size }} } }
{{- end -}}
{{- end -}}
