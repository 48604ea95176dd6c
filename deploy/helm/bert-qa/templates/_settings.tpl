{{/*
The settings of a server: the rule of `bertqa.artifact.server_settings`, with which a test compares them.
What a value gives is taken, and 0 leaves it to the rule.
*/}}

{{/* The settings of a track as JSON. Takes a list: the root, the track. */}}
{{- define "bert-qa.settings" -}}
{{- $server := (index . 0).Values.server -}}
{{- $track := index . 1 -}}
{{- $memory := $track.memory | int64 -}}
{{- $threads := $server.threads | int | default ($track.cores | int) -}}
{{- $streams := $server.streams | int | default (min $threads (max 2 (div $threads 4))) -}}
{{- $calls := 1000 -}}
{{- $tokens := 32768 -}}
{{- if $memory -}}
{{- $calls = max 1 (min 1000 (div (div $memory 10) 98304)) -}}
{{- $tokens = max 8192 (div (div (div (mul $memory 3) 4) $streams) 49152) | min 44000000 -}}
{{- end -}}
{{- $calls = $server.maxConcurrentStreams | int64 | default $calls -}}
{{- dict
      "threads" $threads
      "streams" $streams
      "concurrent_streams" $calls
      "grpc_threads" ($server.grpcMaxThreads | int64 | default (add $calls 24))
      "rest_workers" ($server.restWorkers | int64)
      "poll_seconds" ($track.latest | ternary ($server.pollSeconds | int64) 0)
      "max_request_tokens" ($server.maxRequestTokens | int64 | default $tokens)
    | toJson -}}
{{- end -}}

{{/* What the proxy, which is the same before all tracks, lets through to a server, as JSON. */}}
{{- define "bert-qa.proxy.limits" -}}
{{- $calls := list -}}
{{- $tokens := list -}}
{{- $streams := list -}}
{{- range (include "bert-qa.tracks" . | fromJson).tracks -}}
{{- $settings := include "bert-qa.settings" (list $ .) | fromJson -}}
{{- $calls = append $calls ($settings.concurrent_streams | int64) -}}
{{- $tokens = append $tokens ($settings.max_request_tokens | int64) -}}
{{- $streams = append $streams ($settings.streams | int64) -}}
{{- end -}}
{{- dict
      "calls" (include "bert-qa.smallest" $calls | int64)
      "restConnections" (mul 2 (include "bert-qa.smallest" $streams | int64))
      "requestBytes" (add (mul 24 (include "bert-qa.smallest" $tokens | int64)) 4096)
    | toJson -}}
{{- end -}}

{{/* The smallest of a list of whole numbers. */}}
{{- define "bert-qa.smallest" -}}
{{- $smallest := first . -}}
{{- range . -}}{{- $smallest = min $smallest . -}}{{- end -}}
{{- $smallest -}}
{{- end -}}

{{/* A line for each pair of a track's settings that contradict each other. Takes a list: the root, the track. */}}
{{- define "bert-qa.conflicts" -}}
{{- $settings := include "bert-qa.settings" . | fromJson -}}
{{- $needed := mul 8 ($settings.streams | int64) -}}
{{- if le ($settings.grpc_threads | int64) ($settings.concurrent_streams | int64) }}
grpc_max_threads ({{ $settings.grpc_threads | int64 }}) is not above grpc.max_concurrent_streams ({{ $settings.concurrent_streams | int64 }}): calls beyond the threads are refused with RESOURCE_EXHAUSTED.
{{- end }}
{{- if lt ($settings.rest_workers | int64) $needed }}
rest_workers ({{ $settings.rest_workers | int64 }}) is below 8 for each of {{ $settings.streams | int64 }} streams ({{ $needed }}): health probes may wait behind long requests over REST.
{{- end }}
{{- if lt ($settings.max_request_tokens | int64) 2048 }}
The largest request ({{ $settings.max_request_tokens | int64 }} tokens) is below the 2048 tokens that a client sends at once: its larger requests are refused.
{{- end }}
{{- if gt ($settings.streams | int64) ($settings.threads | int64) }}
NUM_STREAMS ({{ $settings.streams | int64 }}) is above INFERENCE_NUM_THREADS ({{ $settings.threads | int64 }}): OpenVINO runs {{ $settings.threads | int64 }} streams.
{{- end }}
{{- end -}}
