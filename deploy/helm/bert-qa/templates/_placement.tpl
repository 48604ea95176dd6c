{{/* Where server pods go: Xeon features by Node Feature Discovery's labels, and spreading. */}}

{{- define "bert-qa.affinity" -}}
{{- $required := list -}}
{{- $preferred := list -}}
{{- range $setting, $label := dict "vnni" "AVX512VNNI" "amx" "AMXINT8" -}}
{{- $expression := dict "key" (printf "feature.node.kubernetes.io/cpu-cpuid.%s" $label) "operator" "In" "values" (list "true") -}}
{{- if eq (get $.Values.xeon $setting) "required" -}}
{{- $required = append $required $expression -}}
{{- else if eq (get $.Values.xeon $setting) "preferred" -}}
{{- $preferred = append $preferred (dict "weight" 50 "preference" (dict "matchExpressions" (list $expression))) -}}
{{- end -}}
{{- end -}}
{{- $node := dict -}}
{{- if $required -}}
{{- $_ := set $node "requiredDuringSchedulingIgnoredDuringExecution" (dict "nodeSelectorTerms" (list (dict "matchExpressions" $required))) -}}
{{- end -}}
{{- if $preferred -}}
{{- $_ := set $node "preferredDuringSchedulingIgnoredDuringExecution" $preferred -}}
{{- end -}}
{{- if $node -}}
affinity:
  nodeAffinity:
    {{- toYaml $node | nindent 4 }}
{{- end -}}
{{- end -}}

{{/* Takes a list: the root, the pods' labels, the label that tells their generations apart. */}}
{{- define "bert-qa.topologySpread" -}}
{{- $root := index . 0 -}}
{{- $labels := index . 1 -}}
{{- $hash := index . 2 -}}
{{- if ne $root.Values.topologySpread "off" -}}
topologySpreadConstraints:
  {{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - topologyKey: {{ $key }}
    maxSkew: 1
    whenUnsatisfiable: {{ eq $root.Values.topologySpread "required" | ternary "DoNotSchedule" "ScheduleAnyway" }}
    matchLabelKeys: [{{ $hash }}]
    labelSelector:
      matchLabels:
        {{- $labels | nindent 8 }}
  {{- end }}
{{- end -}}
{{- end -}}
