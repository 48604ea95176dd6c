{{/* What a Job and a TrainJob train in: pods, their names, and how far they are. */}}

{{- define "bert-qa.training.pod" -}}
{{- $training := .Values.model.training -}}
{{ include "bert-qa.podCommon" . }}
restartPolicy: Never
securityContext:
  {{- include "bert-qa.podSecurity" . | nindent 2 }}
containers:
  - name: build
    image: {{ include "bert-qa.image" (list . $training.image) | quote }}
    imagePullPolicy: {{ .Values.imagePullPolicy }}
    command: [bert-qa, build, /recipe/recipe.yaml]
    args: [--repository, /models, --work-dir, /models/.work]
    securityContext:
      {{- include "bert-qa.containerSecurity" . | nindent 6 }}
    resources:
      {{- include "bert-qa.resources" $training.resources | nindent 6 }}
    env:
      - {name: HOME, value: /tmp}
      {{- with $training.env }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    volumeMounts:
      - {name: models, mountPath: /models}
      - {name: recipe, mountPath: /recipe, readOnly: true}
      - {name: scratch, mountPath: /tmp}
      {{- with $training.volumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
volumes:
  - name: models
    persistentVolumeClaim:
      claimName: {{ include "bert-qa.claimName" . | toYaml }}
  - name: recipe
    configMap:
      name: {{ $training.recipeConfigMap | default (printf "%s-recipe" (include "bert-qa.fullname" .)) | toYaml }}
  - name: scratch
    emptyDir: {}
  {{- with $training.volumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "bert-qa.training.labels" -}}
{{ include "bert-qa.selectorLabels" . }}
app.kubernetes.io/component: training
{{- end -}}

{{- define "bert-qa.training.podMetadata" -}}
labels:
  {{- include "bert-qa.training.labels" . | nindent 2 }}
  {{- with include "bert-qa.podLabels" . }}
  {{- . | nindent 2 }}
  {{- end }}
annotations:
  bert-qa/recipe: {{ sha256sum .Values.model.training.recipe | trunc 16 | quote }}
  {{- with .Values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/*
Its name's suffix. Neither a Job's template nor a TrainJob can be changed: another recipe or image makes another one.
Another deadline of a Job does not, which is why that is no part of this.
*/}}
{{- define "bert-qa.training.suffix" -}}
{{- $kubeflow := eq .Values.model.training.engine "kubeflow" -}}
{{- $spec := include ($kubeflow | ternary "bert-qa.training.trainJob" "bert-qa.training.spec") . -}}
{{- printf "train-%s" ($spec | fromYaml | toJson | sha256sum | trunc 8) -}}
{{- end -}}

{{/* "true" once the Job or TrainJob has succeeded. */}}
{{- define "bert-qa.training.succeeded" -}}
{{- $name := printf "%s-%s" (include "bert-qa.fullname" .) (include "bert-qa.training.suffix" .) -}}
{{- if eq .Values.model.training.engine "kubeflow" -}}
{{- if .Capabilities.APIVersions.Has "trainer.kubeflow.org/v1alpha1/TrainJob" -}}
{{- $found := lookup "trainer.kubeflow.org/v1alpha1" "TrainJob" (include "bert-qa.namespace" .) $name | default dict -}}
{{- range dig "status" "conditions" list $found -}}
{{- if and (eq .type "Complete") (eq .status "True") -}}true{{- end -}}
{{- end -}}
{{- end -}}
{{- else -}}
{{- $found := lookup "batch/v1" "Job" (include "bert-qa.namespace" .) $name | default dict -}}
{{- if dig "status" "succeeded" 0 $found -}}true{{- end -}}
{{- end -}}
{{- end -}}

{{/* What the schema cannot say about a training. */}}
{{- define "bert-qa.training.validate" -}}
{{- $training := .Values.model.training -}}
{{- if eq $training.engine "job" -}}
{{- range $value := list "nodes" "processesPerNode" -}}
{{- if gt (get $training $value | int) 1 -}}
{{- fail (printf "model.training.%s is %d, and a Job trains in one process: set model.training.engine=kubeflow." $value (get $training $value | int)) -}}
{{- end -}}
{{- end -}}
{{- else -}}
{{- range $value := list "envFrom" "priorityClassName" "runtimeClassName" -}}
{{- if get $.Values $value -}}
{{- fail (printf "%s does not go with model.training.engine=kubeflow: a TrainJob cannot hold it. Leave it out, and have it in a runtime of your own (model.training.runtime)." $value) -}}
{{- end -}}
{{- end -}}
{{- range concat $training.env .Values.env -}}
{{- if hasPrefix "PET_" .name -}}
{{- fail (printf "env has %s, which Kubeflow Trainer sets itself: set model.training.nodes and model.training.processesPerNode." .name) -}}
{{- end -}}
{{- end -}}
{{- $fullname := include "bert-qa.fullname" . -}}
{{- if gt (len $fullname) 32 -}}
{{- fail (printf "The names of a TrainJob's pods would begin with %s and have more than 63 characters: set fullnameOverride to 32 at most." $fullname) -}}
{{- end -}}
{{- if gt (int $training.nodes) 1 -}}
{{- $modes := list $training.accessMode -}}
{{- with $training.claimName -}}
{{- $claim := lookup "v1" "PersistentVolumeClaim" (include "bert-qa.namespace" $) . | default dict -}}
{{- $modes = dig "spec" "accessModes" (list "ReadWriteMany") $claim -}}
{{- end -}}
{{- if not (has "ReadWriteMany" $modes) -}}
{{- fail (printf "model.training.nodes is %d, and the pods share a claim, which is %s: it has to be ReadWriteMany (model.training.%s)." (int $training.nodes) (join ", " $modes) ($training.claimName | empty | ternary "accessMode" "claimName")) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
