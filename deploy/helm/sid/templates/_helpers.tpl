{{- define "sid.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "sid.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "sid.labels" -}}
{{ include "sid.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "sid.image" -}}
{{ .Values.image.repository }}{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "sid.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "sid.name" .) }}
{{- end }}

{{- define "sid.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "sid.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* What no schema can say: values that only make sense together. */}}
{{- define "sid.check" -}}
{{- $drain := div (add .Values.server.drainDelayMs .Values.server.drainTimeoutMs 999) 1000 }}
{{- if lt (int .Values.terminationGracePeriodSeconds) (int (add $drain 5)) }}
{{- fail (printf "terminationGracePeriodSeconds must be at least %d: server.drainDelayMs + server.drainTimeoutMs, and 5 s for the last bytes" (int (add $drain 5))) }}
{{- end }}
{{- if not .Values.store.existingSecret }}{{ fail "store.existingSecret: name the secret that holds the database's URL" }}{{ end }}
{{- if and .Values.migrate.enabled (not .Values.migrate.existingSecret) }}{{ fail "migrate.existingSecret: name the secret that holds the owner's URL, or set migrate.enabled=false and run `sid-server migrate` by hand" }}{{ end }}
{{- if and (eq .Values.vectors.kind "qdrant") (not .Values.vectors.url) }}{{ fail "vectors.url: where is Qdrant?" }}{{ end }}
{{- range $name, $model := .Values.models }}
{{- if not $model.baseUrl }}{{ fail (printf "models.%s.baseUrl: where is the model?" $name) }}{{ end }}
{{- end }}
{{- range $section := list "server" "store" "vectors" "log" "models" }}
{{- if regexMatch (printf "(?m)^\\s*\\[\\s*%s\\b" $section) $.Values.extraConfig }}{{ fail (printf "extraConfig: [%s] has values of its own" $section) }}{{ end }}
{{- end }}
{{- if and .Values.server.publicMetrics (ne .Values.service.type "ClusterIP") }}{{ fail "server.publicMetrics: this service would show /metrics to the world" }}{{ end }}
{{- if and .Values.serviceMonitor.enabled (not .Values.server.publicMetrics) }}{{ fail "serviceMonitor.enabled needs server.publicMetrics=true" }}{{ end }}
{{- if and .Values.autoscaling.enabled (lt (int .Values.autoscaling.maxReplicas) (int .Values.autoscaling.minReplicas)) }}{{ fail "autoscaling.maxReplicas is less than minReplicas" }}{{ end }}
{{- end }}
