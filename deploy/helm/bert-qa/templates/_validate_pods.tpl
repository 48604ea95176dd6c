{{/* What the schema cannot say about pods: what they get, and what the values add to them. */}}

{{/* Takes a pod's specification: no name or path may be there twice, and what is mounted has to be there. */}}
{{- define "bert-qa.pod.validate" -}}
{{- $volumes := include "bert-qa.unique" (list "volumes called" "name" (.volumes | default list)) | fromJsonArray -}}
{{- $containers := concat (.initContainers | default list) .containers -}}
{{- $_ := include "bert-qa.unique" (list "containers called" "name" $containers) -}}
{{- range $containers -}}
{{- $_ := include "bert-qa.unique" (list (printf "volumes in the container %s at" .name) "mountPath" (.volumeMounts | default list)) -}}
{{- range .volumeMounts -}}
{{- if not (has .name $volumes) -}}
{{- fail (printf "volumeMounts has the volume %s, which a pod does not have: name one of its volumes, or add it to volumes." .name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The values of a key in objects as JSON, each of which may be there once. Takes a list: what they are, the key, the objects. */}}
{{- define "bert-qa.unique" -}}
{{- $found := list -}}
{{- range index . 2 -}}
{{- $value := get . (index $ 1) -}}
{{- if has $value $found -}}
{{- fail (printf "A pod would have two %s %s: give what you add another one." (index $ 0) $value) -}}
{{- end -}}
{{- $found = append $found $value -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/* Takes a list: whose resources they are, the resources. */}}
{{- define "bert-qa.resources.validate" -}}
{{- $owner := index . 0 -}}
{{- $resources := include "bert-qa.resources" (index . 1) | fromYaml -}}
{{- range $name, $request := $resources.requests -}}
{{- $asked := include "bert-qa.thousandths" $request | int64 -}}
{{- $limit := get $resources.limits $name -}}
{{- $most := include "bert-qa.thousandths" $limit | int64 -}}
{{- if has $name (list "cpu" "memory" "ephemeral-storage") -}}
{{- if and (hasKey $resources.limits $name) (gt $asked $most) -}}
{{- fail (printf "%s asks for more %s (%v) than its limit (%v)." $owner $name $request $limit) -}}
{{- end -}}
{{- else if or (not (hasKey $resources.limits $name)) (ne $asked $most) (ne 0 (mod $asked 1000)) -}}
{{- fail (printf "%s has %s of %v and a limit of %v: of this resource both are one whole number." $owner $name $request ($limit | default "none")) -}}
{{- end -}}
{{- if hasPrefix "hugepages-" $name -}}
{{- $page := include "bert-qa.thousandths" (trimPrefix "hugepages-" $name) | int64 -}}
{{- if or (eq 0 $page) (eq 0 $asked) (ne 0 (mod $asked $page)) -}}
{{- fail (printf "%s has %s of %v, which is not a number of whole pages." $owner $name $request) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
