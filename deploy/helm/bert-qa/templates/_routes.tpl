{{/*
rules: of a route: one that a header forces onto a track, for each track, and one that splits by weight.
Takes a dict: root, kind, port, match (what every request of the route has in common).
*/}}
{{- define "bert-qa.routeRules" -}}
{{- if .root.Values.rollouts.enabled -}}
{{- include "bert-qa.rollouts.routeRules" . -}}
{{- else -}}
{{- $root := .root -}}
{{- $port := .port -}}
{{- $match := .match -}}
{{- $name := include "bert-qa.fullname" $root -}}
{{- $tracks := (include "bert-qa.tracks" $root | fromJson).tracks -}}
{{- range $tracks }}
- matches:
    - {{ toYaml $match | indent 6 | trim }}
      headers:
        - {name: {{ $root.Values.gateway.header }}, value: {{ .name }}}
  backendRefs:
    - {name: {{ $name }}-{{ .name }}, port: {{ $port }}}
{{- end }}
- matches:
    - {{ toYaml $match | indent 6 | trim }}
  backendRefs:
    {{- range $tracks }}
    - {name: {{ $name }}-{{ .name }}, port: {{ $port }}, weight: {{ .weight }}}
    {{- end }}
{{- end -}}
{{- end -}}
