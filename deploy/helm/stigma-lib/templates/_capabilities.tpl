{{/*
Refuses a value that makes objects of a kind which the cluster does not know. Takes a list: context,
`group/version/Kind`, the value, what brings the kind, where that is, the value to set instead.
Only a cluster lists kinds (or `--api-versions`): `helm template` alone knows of none and refuses
nothing.
*/}}
{{- define "stigma.requireKind" -}}
{{- $known := (index . 0).Capabilities.APIVersions -}}
{{- if and ($known.Has "apps/v1/Deployment") (not ($known.Has (index . 1))) -}}
{{- fail (printf "%s needs %s, which this cluster does not have (%s): install it (%s), or set %s" (index . 2) (index . 3) (index . 1) (index . 4) (index . 5)) -}}
{{- end -}}
{{- end -}}

{{- define "stigma.requireKeda" -}}
{{- include "stigma.requireKind" (list . "keda.sh/v1alpha1/ScaledObject" "autoscaling.enabled" "KEDA" "https://keda.sh/docs/latest/deploy/" "autoscaling.enabled=false") -}}
{{- end -}}

{{/* Takes a list: context, kind, and the value that asks for it. */}}
{{- define "stigma.requirePrometheusOperator" -}}
{{- include "stigma.requireKind" (list (index . 0) (printf "monitoring.coreos.com/v1/%s" (index . 1)) (index . 2) "the Prometheus operator" "https://prometheus-operator.dev/docs/getting-started/installation/" (printf "%s=false" (index . 2))) -}}
{{- end -}}
