{{/* What no schema can say: values of several charts that do not fit together. */}}
{{- define "stigma.umbrellaChecks" -}}
{{- $global := .Values.global.stigma -}}
{{- $server := .Values.temporal.devServer.enabled -}}
{{- $address := dig "temporal" "address" "" $global -}}
{{- if and (not $server) (not $address) -}}
{{- fail "where is Temporal? Set global.stigma.temporal.address (production: see values-production.yaml), or temporal.devServer.enabled=true to try Stigma out" -}}
{{- end -}}
{{- if and $server $address -}}
{{- fail "temporal.devServer.enabled and global.stigma.temporal.address exclude each other" -}}
{{- end -}}
{{- if and .Values.services.api .Values.services.zigflowWorker -}}
{{- $engine := index .Values "zigflow-worker" -}}
{{- if and (not $engine.api.address) (ne (index .Values "stigma-api").tls.enabled $engine.api.tls.enabled) -}}
{{- fail "stigma-api.tls.enabled and zigflow-worker.api.tls.enabled must agree: both talk to each other" -}}
{{- end -}}
{{- if and (index .Values "stigma-api").auth.existingSecret (not $engine.api.address) (not $engine.api.keySecret.name) (not $engine.api.tls.clientSecret.name) -}}
{{- fail "with stigma-api.auth.existingSecret the engine needs a key of yours: set zigflow-worker.api.keySecret.name" -}}
{{- end -}}
{{- end -}}
{{- end -}}
