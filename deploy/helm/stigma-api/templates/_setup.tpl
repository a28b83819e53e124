{{/*
Prepares the Temporal namespace. A plain Job, not a hook: before the install the dev server is not
there, and after it `--wait` would wait for an API that waits for this. A Job cannot be changed, so
its name follows from its content.
*/}}
{{- define "stigma-api.setup" -}}
{{- if .Values.setup.enabled -}}
{{- $spec := include "stigma-api.setupSpec" . -}}
apiVersion: batch/v1
kind: Job
metadata:
  {{- include "stigma.auxiliaryMetadata" (list . (printf "-setup-%s" ($spec | sha256sum | trunc 8))) | nindent 2 }}
spec:
  {{- $spec | nindent 2 }}
{{- end -}}
{{- end -}}

{{- define "stigma-api.setupSpec" -}}
backoffLimit: 20
activeDeadlineSeconds: 3600
template:
  metadata:
    labels:
      {{- include "stigma.auxiliaryLabels" (list . "-setup") | nindent 6 }}
      {{- with .Values.podLabels }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    {{- with .Values.podAnnotations }}
    annotations: {{ toYaml . | nindent 6 }}
    {{- end }}
  spec:
    {{- include "stigma.podSecurity" . | nindent 4 }}
    serviceAccountName: {{ include "stigma.serviceAccountName" . }}
    {{- with include "stigma.pullSecrets" . | trim }}
    {{- . | nindent 4 }}
    {{- end }}
    restartPolicy: OnFailure
    {{- with include "stigma.scheduling" . | trim }}
    {{- . | nindent 4 }}
    {{- end }}
    containers:
      - name: setup
        image: {{ include "stigma.image" . | quote }}
        imagePullPolicy: {{ .Values.image.pullPolicy }}
        {{- include "stigma.containerSecurity" . | nindent 8 }}
        {{- with .Values.setup.resources }}
        resources: {{ toYaml . | nindent 10 }}
        {{- end }}
        command: [stigma, setup, --retention, {{ .Values.setup.retention | quote }}]
        env:
          {{- include "stigma.temporalEnvironment" . | trim | nindent 10 }}
          {{- with .Values.extraEnv }}
          {{- toYaml . | nindent 10 }}
          {{- end }}
        {{- with include "stigma.temporalMounts" . | trim }}
        volumeMounts:
          {{- . | nindent 10 }}
        {{- end }}
    {{- with include "stigma.temporalAndExtraVolumes" . | trim }}
    volumes:
      {{- . | nindent 6 }}
    {{- end }}
{{- end -}}

{{- define "stigma-api.setupNetworkPolicy" -}}
{{- if .Values.setup.enabled -}}
{{- include "stigma.auxiliaryNetworkPolicy" (list . "-setup" (include "stigma.egressToTemporal" .)) -}}
{{- end -}}
{{- end -}}
