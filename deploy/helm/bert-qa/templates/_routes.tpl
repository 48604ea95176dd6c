{{/*
rules: of a route: one for each track, that a header forces onto it; one for each version, whose path only its own
tracks can answer; and the last, that splits by weight. A Gateway prefers the longest path and then the most headers,
so a forced track is matched under each of the paths.
Takes a dict: root, kind, port, match (what every request of the route has in common), versionPath (a format; empty: none).
*/}}
{{- define "bert-qa.routeRules" -}}
{{- if .root.Values.rollouts.enabled -}}
{{- include "bert-qa.rollouts.routeRules" . -}}
{{- else -}}
{{- $root := .root -}}
{{- $port := .port -}}
{{- $name := include "bert-qa.fullname" $root -}}
{{- $tracks := (include "bert-qa.tracks" $root | fromJson).tracks -}}
{{- $versions := list -}}
{{- if .versionPath -}}
{{- $versions = (include "bert-qa.versions" $root | fromJson).versions -}}
{{- end -}}
{{- $matches := list .match -}}
{{- range $versions -}}
{{- $matches = append $matches (dict "path" (dict "type" "PathPrefix" "value" (printf $.versionPath .version))) -}}
{{- end -}}
{{- range $tracks }}
- matches:
    {{- $header := dict "name" $root.Values.gateway.header "value" .name }}
    {{- range $matches }}
    - {{ toYaml (merge (dict "headers" (list $header)) .) | indent 6 | trim }}
    {{- end }}
  backendRefs:
    - {name: {{ $name }}-{{ .name }}, port: {{ $port }}}
{{- end }}
{{- range $index, $version := $versions }}
- matches:
    - {{ index $matches (add 1 $index) | toYaml | indent 6 | trim }}
  backendRefs:
    {{- range $version.tracks }}
    - {name: {{ $name }}-{{ .name }}, port: {{ $port }}, weight: {{ .weight }}}
    {{- end }}
{{- end }}
- matches:
    - {{ toYaml .match | indent 6 | trim }}
  backendRefs:
    {{- range $tracks }}
    - {name: {{ $name }}-{{ .name }}, port: {{ $port }}, weight: {{ .weight }}}
    {{- end }}
{{- end -}}
{{- end -}}

{{/*
The numbered versions that have pods as JSON {"versions": [{version, tracks}, ...]}: the tracks that have each, with their
shares of its own requests. Where none of them has a weight they share alike, as a route without any weight answers with an error.
*/}}
{{- define "bert-qa.versions" -}}
{{- $versions := dict -}}
{{- range (include "bert-qa.tracks" . | fromJson).tracks -}}
{{- if and (not .latest) (or .weight .replicas) -}}
{{- $_ := set $versions .version (append (get $versions .version | default list) .) -}}
{{- end -}}
{{- end -}}
{{- $found := list -}}
{{- range $version := keys $versions | sortAlpha -}}
{{- $sum := 0 -}}
{{- range get $versions $version -}}{{- $sum = add $sum .weight -}}{{- end -}}
{{- $shares := list -}}
{{- range get $versions $version -}}
{{- $shares = append $shares (dict "name" .name "weight" (ternary .weight 1 (gt (int $sum) 0))) -}}
{{- end -}}
{{- $found = append $found (dict "version" $version "tracks" $shares) -}}
{{- end -}}
{{- dict "versions" $found | toJson -}}
{{- end -}}

{{/*
References to one parent tell its listeners apart, all by names or all by ports. Takes a list: the kind of the route, its parentRefs.
*/}}
{{- define "bert-qa.parentRefs.validate" -}}
{{- $listeners := dict -}}
{{- range index . 1 -}}
{{- $parent := omit . "sectionName" "port" | toJson -}}
{{- $_ := set $listeners $parent (append (get $listeners $parent | default list) .) -}}
{{- end -}}
{{- range $references := $listeners -}}
{{- $names := list -}}
{{- range $references }}{{ $names = append $names (printf "%v %v" (.sectionName | default "") (.port | default 0 | int)) }}{{ end -}}
{{- if and (gt (len $references) 1) (or (has " 0" $names) (ne (len $names) (len (uniq $names)))) -}}
{{- fail (printf "gateway.%s.parentRefs refers to %s %d times: give each a sectionName of its own." (index $ 0) (first $references).name (len $references)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
