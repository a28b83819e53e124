{{/*
Renders a template with the chart's values as they count: its own, with what `global.stigma` sets
over them. Takes a list of the chart's context and the template's name.
*/}}
{{- define "stigma.render" -}}
{{- $context := index . 0 -}}
{{- $global := dig "stigma" (dict) ($context.Values.global | default dict) -}}
{{- $values := mergeOverwrite (deepCopy $context.Values) (deepCopy $global) -}}
{{- include (index . 1) (dict "Values" $values "Chart" $context.Chart "Release" $context.Release "Files" $context.Files "Capabilities" $context.Capabilities "Template" $context.Template) -}}
{{- end -}}
