{{/*
Release "dstk" gives objects named dstk-…; any other release NAME gives NAME-dstk-….
45 characters leave room for -worker and the hash of a revision in a label of 63.
*/}}
{{- define "dstk.fullname" -}}
{{- $name := .Release.Name }}
{{- if not (contains .Chart.Name $name) }}{{ $name = printf "%s-%s" $name .Chart.Name }}{{ end }}
{{- if not (regexMatch "^[a-z][a-z0-9-]{0,44}$" $name) }}
{{- fail (printf "objects would be named %s-…: choose a release name that begins with a letter, has no dot, and makes that 45 characters at most" $name) }}
{{- end }}
{{- $name }}
{{- end }}

{{- define "dstk.image" -}}
{{ .Values.image.repository }}
{{- with .Values.image.digest }}@{{ . }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{/* Labels that never change, for selectors: call with (dict "root" . "component" "worker"). */}}
{{- define "dstk.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "dstk.labels" -}}
{{ include "dstk.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{/* Of pods; call with (dict "root" . "component" "worker" "values" .Values.workers "path" "workers"). */}}
{{- define "dstk.podLabels" -}}
{{- $path := .path }}
{{- range $key, $_ := .values.labels }}
{{- if hasPrefix "app.kubernetes.io/" $key }}
{{- fail (printf "%s.labels: %s is the chart's own; choose another key" $path $key) }}
{{- end }}
{{- end }}
{{- merge (include "dstk.selector" . | fromYaml) .values.labels | toYaml }}
{{- end }}

{{/* Call with the same. */}}
{{- define "dstk.topologySpread" -}}
topologySpreadConstraints:
{{- with .values.topologySpreadConstraints }}
  {{- toYaml . | nindent 2 }}
{{- else }}
{{- $selector := include "dstk.selector" . }}
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- $selector | nindent 8 }}
{{- end }}
{{- end }}
{{- end }}

{{/* How many bytes a quantity such as 2Gi is. */}}
{{- define "dstk.bytes" -}}
{{- $text := kindIs "string" . | ternary . (. | int64 | toString) }}
{{- $unit := regexFind "[A-Za-z]*$" $text }}
{{- $units := dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 }}
{{- if not (and (hasKey $units $unit) (regexMatch "^[0-9]+(\\.[0-9]+)?[A-Za-z]*$" $text)) }}
{{- fail (printf "workers.resources.limits.memory: %s is not a quantity such as 2Gi" $text) }}
{{- end }}
{{- mulf (trimSuffix $unit $text | float64) (get $units $unit) | int64 }}
{{- end }}

{{/*
Limits of a worker's node: those of the values, and what rows may take of the container's memory. Two fifths: there are
logs, held requests and snapshots besides.
*/}}
{{- define "dstk.nodeLimits" -}}
{{- $limits := deepCopy .limits }}
{{- $memory := (.resources.limits | default dict).memory }}
{{- if and $memory (not (hasKey $limits "memory_limit_bytes")) }}
{{- $_ := set $limits "memory_limit_bytes" (div (mul 2 (include "dstk.bytes" $memory | int64)) 5) }}
{{- end }}
{{- range $name, $value := $limits }}
- --limit={{ $name }}={{ eq (toString (floor $value)) (toString $value) | ternary (int64 $value) $value }}
{{- end }}
{{- end }}

{{- define "dstk.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "dstk.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* What pods of both kinds may be given. */}}
{{- define "dstk.scheduling" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}
