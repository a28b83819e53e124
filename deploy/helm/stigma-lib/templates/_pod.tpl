{{/* Security of a pod and of a container: the restricted Pod Security Standard, and more. */}}
{{- define "stigma.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  {{- with .Values.runAsUser }}
  runAsUser: {{ . | int64 }}
  runAsGroup: {{ . | int64 }}
  fsGroup: {{ . | int64 }}
  {{- end }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{- define "stigma.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
{{- end -}}

{{- define "stigma.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "stigma.scheduling" -}}
{{- with .Values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{/* The pod of a service: a PodTemplateSpec. */}}
{{- define "stigma.podTemplate" -}}
{{- $ownVolumes := include "stigma.hook" (list . "volumes") | trim -}}
{{- $files := printf "%s\n%s" (include "stigma.temporalVolumes" . | trim) $ownVolumes | trim -}}
{{- $checksums := include "stigma.hook" (list . "checksums") | trim -}}
{{- $drain := include "stigma.hook" (list . "drainSeconds") | trim | int -}}
metadata:
  labels:
    {{- include "stigma.labels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- if or $checksums .Values.podAnnotations }}
  annotations:
    {{- with $checksums }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
spec:
  {{- include "stigma.podSecurity" . | nindent 2 }}
  serviceAccountName: {{ include "stigma.serviceAccountName" . }}
  {{- with include "stigma.pullSecrets" . | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  terminationGracePeriodSeconds: {{ add $drain .Values.shutdownGraceSeconds 10 }}
  {{- with .Values.topologySpread }}
  {{- if .enabled }}
  topologySpreadConstraints:
    {{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - topologyKey: {{ $key }}
      maxSkew: 1
      whenUnsatisfiable: {{ $.Values.topologySpread.whenUnsatisfiable }}
      labelSelector:
        matchLabels:
          {{- include "stigma.selectorLabels" $ | nindent 10 }}
      matchLabelKeys: [pod-template-hash]
    {{- end }}
  {{- end }}
  {{- end }}
  {{- with include "stigma.scheduling" . | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  containers:
    - name: {{ .Chart.Name }}
      image: {{ include "stigma.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      {{- include "stigma.containerSecurity" . | nindent 6 }}
      env:
        {{- include "stigma.environment" . | nindent 8 }}
      ports:
        - { name: admin, containerPort: {{ include "stigma.adminPort" . }} }
        {{- include "stigma.hook" (list . "ports") | trim | nindent 8 }}
      {{- if $drain }}
      # No new caller finds a pod that is to go. Those that know it look for others when it closes
      # their connections: by then the others have to be known.
      lifecycle:
        preStop: { exec: { command: [sleep, {{ $drain | quote }}] } }
      {{- end }}
      # Temporal may be away for long: that is no reason to restart, and readiness tells.
      startupProbe:
        httpGet: { path: /livez, port: admin }
        periodSeconds: 1
        failureThreshold: 60
      livenessProbe:
        httpGet: { path: /livez, port: admin }
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet: { path: /readyz, port: admin }
        periodSeconds: 5
        timeoutSeconds: 3
        failureThreshold: 2
      {{- with .Values.resources }}
      resources: {{ toYaml . | nindent 8 }}
      {{- end }}
      volumeMounts:
        - { name: state, mountPath: /var/lib/stigma }
        - { name: tmp, mountPath: /tmp }
        {{- include "stigma.mountsOf" $files | trim | nindent 8 }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    {{- include "stigma.hook" (list . "stateVolume") | trim | nindent 4 }}
    - name: tmp
      emptyDir: { sizeLimit: 256Mi }
    {{- $files | nindent 4 }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{- define "stigma.emptyState" -}}
- name: state
  emptyDir: { sizeLimit: 256Mi }
{{- end -}}
