{{- define "stigma-api.service" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "stigma.metadata" (list . "") | nindent 2 }}
  {{- with .Values.service.annotations }}
  annotations: {{ toYaml . | nindent 4 }}
  {{- end }}
spec:
  type: {{ .Values.service.type }}
  selector:
    {{- include "stigma.selectorLabels" . | nindent 4 }}
  ports:
    - { name: grpc, port: 7300, targetPort: grpc, appProtocol: grpc }
{{- end -}}
