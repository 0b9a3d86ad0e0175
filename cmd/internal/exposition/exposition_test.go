package exposition

import (
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func exposed(t *testing.T) []Family {
	t.Helper()
	r := prometheus.NewRegistry()
	calls := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "truenas_provider_calls_total", Help: "Calls."}, []string{"result", "method"})
	took := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "truenas_provider_call_seconds", Help: "How long."})
	r.MustRegister(calls, took)
	calls.WithLabelValues("ok", "vm.query").Inc()
	families, err := Of(r)
	if err != nil {
		t.Fatal(err)
	}
	return families
}

func TestCompare(t *testing.T) {
	const calls = "| `truenas_provider_calls_total` | counter | `method`, `result` | provider, omni | Calls. |\n"
	const took = "| `truenas_provider_call_seconds` | histogram |  | provider | How long. |\n"
	for _, tt := range []struct{ name, page, want string }{
		{"a correct page", calls + took, ""},
		{"an undocumented metric", calls, "exposed, and not documented so: | `truenas_provider_call_seconds`"},
		{"a metric of another program", calls + strings.Replace(took, "provider |", "omni |", 1), "exposed, and not documented so: | `truenas_provider_call_seconds`"},
		{"a label too few", strings.Replace(calls, "`method`, ", "", 1) + took, "exposed, and not documented so: | `truenas_provider_calls_total`"},
		{"a removed metric", calls + took + strings.Replace(calls, "calls", "gone", 1), "documented, and not exposed so: | `truenas_provider_gone_total`"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wrong := Compare(exposed(t), Documented(tt.page, "provider"))
			if (len(wrong) == 0) != (tt.want == "") || !strings.Contains(strings.Join(wrong, "\n"), tt.want) {
				t.Errorf("got %q, want %q", wrong, tt.want)
			}
		})
	}
}

func TestQuery(t *testing.T) {
	families := exposed(t)
	for _, tt := range []struct{ name, expr, want string }{
		{"a rate", `sum by (method) (rate(truenas_provider_calls_total{job=~"a{2}",result!="ok"}[5m]))`, ""},
		{"a quantile", `histogram_quantile(0.95, sum by (le) (rate(truenas_provider_call_seconds_bucket[5m])))`, ""},
		{"a metric of every program", `process_resident_memory_bytes{instance="a"}`, ""},
		{"a misspelt metric", `truenas_provider_call_total`, "no metric truenas_provider_call_total"},
		{"a histogram without its suffix", `truenas_provider_call_seconds`, "no metric truenas_provider_call_seconds"},
		{"a misspelt label", `truenas_provider_calls_total{code="ok"}`, "has no label code"},
		{"grouping by a missing label", `sum by (step) (truenas_provider_calls_total)`, "nothing in it has a label step"},
		{"a bracket too few", `sum(rate(truenas_provider_calls_total[5m])`, "() are not balanced"},
		{"nothing", `1 == 1`, "names no metric"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wrong := Query(families, tt.expr)
			matches := func(s string) bool { return strings.Contains(s, tt.want) }
			if tt.want == "" && len(wrong) > 0 || tt.want != "" && !slices.ContainsFunc(wrong, matches) {
				t.Errorf("got %q, want %q", wrong, tt.want)
			}
		})
	}
}
