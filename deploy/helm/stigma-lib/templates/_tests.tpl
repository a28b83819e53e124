{{/* An uninstall leaves hooks alone: a test that passed is removed at once, and its log printed. */}}
{{- define "stigma.testAnnotations" -}}
helm.sh/hook: test
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
helm.sh/hook-output-log-policy: hook-succeeded,hook-failed
{{- end -}}

{{/* `helm test` of a service: every pod behind its headless name must be ready, within a minute. */}}
{{- define "stigma.readinessTest" -}}
apiVersion: v1
kind: Pod
metadata:
  {{- include "stigma.auxiliaryMetadata" (list . "-test-ready") | nindent 2 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    {{- include "stigma.testAnnotations" . | nindent 4 }}
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
  activeDeadlineSeconds: 120
  {{- with include "stigma.scheduling" . | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  containers:
    - name: test
      image: {{ include "stigma.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      {{- include "stigma.containerSecurity" . | nindent 6 }}
      {{- with .Values.tests.resources }}
      resources: {{ toYaml . | nindent 8 }}
      {{- end }}
      command: [python, -c]
      args:
        - |
          import socket, sys, time, urllib.request
          name, port = "{{ include "stigma.fullname" . }}-headless", {{ include "stigma.adminPort" . }}
          end = time.monotonic() + 60
          while True:
              try:
                  found = {a[4][0] for a in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)}
                  for ip in sorted(found):
                      host = f"[{ip}]" if ":" in ip else ip
                      urllib.request.urlopen(f"http://{host}:{port}/readyz", timeout=5).read()
                      print(ip, "is ready")
                  sys.exit(0)
              except OSError as error:
                  if time.monotonic() > end:
                      sys.exit(f"{name} is not ready: {error}")
                  time.sleep(1)
{{- end -}}
