{{/*
`helm test` of the whole: applies an agent with a scripted model and runs a document that calls it.
Rendered in the context of the engine, which knows Temporal and the API; `handshake` in its values
has the API's image, where the `stigma` command is, and the Secret of the key to use.
*/}}
{{- define "stigma.handshake" -}}
{{- $test := .Values.handshake -}}
{{- if $test.keySecret.name -}}
{{- $_ := set .Values.api "keySecret" $test.keySecret -}}
{{- end -}}
{{- /* Not the Worker Controller's pod: it gets Temporal's address and credentials from here. */ -}}
{{- $_ := unset .Values "versioning" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  {{- include "stigma.handshakeMetadata" . | nindent 2 }}
    helm.sh/hook-weight: "-1"
data:
  agent.yaml: |
    apiVersion: stigma/v1
    kind: Agent
    metadata: { name: helm-test }
    spec:
      description: Applied by `helm test`.
      model: scripted:helm-test
      instructions: Answer.
      script:
        steps: [{ text: The handshake works. }]
  workflow.yaml: |
    document: { dsl: '1.0.3', namespace: tests, name: helm-test, version: '1.0.0' }
    do:
      - ask:
          call: agent
          with: { agent: helm-test, message: Does the handshake work? }
---
apiVersion: v1
kind: Pod
metadata:
  {{- include "stigma.handshakeMetadata" . | nindent 2 }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- include "stigma.podSecurity" . | nindent 2 }}
  serviceAccountName: {{ include "stigma.serviceAccountName" . }}
  {{- with include "stigma.pullSecrets" . | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  restartPolicy: Never
  activeDeadlineSeconds: 300
  {{- with include "stigma.scheduling" . | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  containers:
    - name: test
      image: {{ $test.image | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      {{- include "stigma.containerSecurity" . | nindent 6 }}
      {{- with $test.resources }}
      resources: {{ toYaml . | nindent 8 }}
      {{- end }}
      command: [sh, -ec]
      args:
        - |
          # The API may just be starting.
          for attempt in $(seq 30); do
            if stigma agent apply -f /etc/stigma/handshake/agent.yaml; then break; fi
            sleep 2
          done
          stigma run /etc/stigma/handshake/workflow.yaml --timeout 2m | tee /tmp/answer
          grep -q 'The handshake works' /tmp/answer
      env:
        {{- include "stigma.temporalEnvironment" . | trim | nindent 8 }}
        - name: STIGMA_TASK_QUEUE_PREFIX
          value: {{ .Values.taskQueuePrefix | quote }}
        {{- include "zigflow-worker.apiEnvironment" . | trim | nindent 8 }}
        {{- with .Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- $files := printf "%s\n%s" (include "stigma.temporalVolumes" . | trim) (include "zigflow-worker.apiVolumes" . | trim) | trim }}
      volumeMounts:
        - { name: tmp, mountPath: /tmp }
        - { name: handshake, mountPath: /etc/stigma/handshake, readOnly: true }
        {{- include "stigma.mountsOf" $files | trim | nindent 8 }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: tmp
      emptyDir: { sizeLimit: 16Mi }
    - name: handshake
      configMap: { name: {{ include "stigma.nameOf" (list .Release.Name "stigma") }}-test-handshake }
    {{- $files | nindent 4 }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- with include "stigma.handshakeNetworkPolicy" . }}
---
{{ . }}
{{- end }}
{{- end -}}

{{/* No hook: it is there before the pod is, and stays. */}}
{{- define "stigma.handshakeNetworkPolicy" -}}
{{- if .Values.networkPolicy.enabled -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "stigma.nameOf" (list .Release.Name "stigma") }}-test-handshake
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "stigma.handshakeLabels" . | nindent 4 }}
spec:
  podSelector:
    matchLabels:
      {{- include "stigma.handshakeLabels" . | nindent 6 }}
  {{- $egress := printf "%s\n%s" (include "stigma.egressToTemporal" .) (include "zigflow-worker.egressToApi" . | trim) }}
  {{- include "stigma.auxiliaryTraffic" (list . $egress) | nindent 2 }}
{{- end -}}
{{- end -}}

{{- define "stigma.handshakeMetadata" -}}
name: {{ include "stigma.nameOf" (list .Release.Name "stigma") }}-test-handshake
namespace: {{ .Release.Namespace }}
labels:
  {{- include "stigma.handshakeLabels" . | nindent 2 }}
  {{- with .Values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  {{- include "stigma.testAnnotations" . | nindent 2 }}
{{- end -}}

{{- define "stigma.handshakeLabels" -}}
app.kubernetes.io/name: stigma-test-handshake
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/part-of: stigma
{{- end -}}

{{/* In the umbrella's context: its own, with those of `global.stigma` over them. */}}
{{- define "stigma.handshakeResources" -}}
{{- $global := dig "tests" "resources" dict .Values.global.stigma -}}
{{ mergeOverwrite (deepCopy .Values.tests.resources) (deepCopy $global) | toYaml }}
{{- end -}}
