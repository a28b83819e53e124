{{/*
Renders a template with the chart's values as they count: its own, with what `global.stigma` sets
over them. Takes a list of the chart's context and the template's name.
*/}}
{{- define "stigma.render" -}}
{{- $context := index . 0 -}}
{{- include "stigma.checkGlobal" $context -}}
{{- $global := dig "stigma" (dict) ($context.Values.global | default dict) -}}
{{- $values := mergeOverwrite (deepCopy $context.Values) (deepCopy $global) -}}
{{- include (index . 1) (dict "Values" $values "Chart" $context.Chart "Release" $context.Release "Files" $context.Files "Capabilities" $context.Capabilities "Template" $context.Template) -}}
{{- end -}}

{{/*
Refuses a misspelt `global.stigma`: other charts keep values beside it, so no schema can. Names of one
letter too many, too few, wrong or swapped; `sigma` is a word.
*/}}
{{- define "stigma.checkGlobal" -}}
{{- $near := "^([^s]?tigma|s[^t]?igma|st[^i]?gma|sti[^g]?ma|stig[^m]?a|stigm[^a]?|.stigma|s.tigma|st.igma|sti.gma|stig.ma|stigm.a|stigma.|tsigma|sitgma|stgima|stimga|stigam)$" -}}
{{- range $name := keys (.Values.global | default dict) | sortAlpha -}}
{{- if and (ne $name "stigma") (ne $name "sigma") (or (eq (lower $name) "stigma") (regexMatch $near (lower $name))) -}}
{{- fail (printf "global.%s is not known: did you mean global.stigma?" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
