package check

import (
	"maps"
	"path/filepath"
	"slices"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	networking "k8s.io/api/networking/v1"
)

// TestPodMonitors checks that the charts make a PodMonitor only on request, and that it selects existing pods and ports.
func TestPodMonitors(t *testing.T) {
	for _, chart := range []string{providerChart, omniChart} {
		t.Run(filepath.Base(chart), func(t *testing.T) {
			for name, values := range examplesOf(t, chart) {
				_, asked := values["podMonitor"]
				if found := len(all[monitoring.PodMonitor](rendered(t, chart, values))); asked != (found == 1) {
					t.Errorf("%s has %d", name, found)
				}
			}
			objects := rendered(t, chart, examplesOf(t, chart)["everything.yaml"])
			labels, ports := podsOf(objects)
			m := all[monitoring.PodMonitor](objects)[0]
			if !maps.Equal(m.Spec.Selector.MatchLabels, labels) || len(m.Spec.Selector.MatchExpressions) > 0 {
				t.Errorf("the selector is %v; the pods have %v", m.Spec.Selector, labels)
			}
			if m.Labels["release"] != "kube-prometheus-stack" || len(m.Spec.PodMetricsEndpoints) != 1 {
				t.Fatalf("its labels are %v, its endpoints %v", m.Labels, m.Spec.PodMetricsEndpoints)
			}
			if e := m.Spec.PodMetricsEndpoints[0]; e.Port == nil || !slices.Contains(ports, *e.Port) || e.Path != "/metrics" || e.Interval != "30s" {
				t.Errorf("the endpoint is %+v; the ports are %v", e, ports)
			}
		})
	}
}

// podsOf returns the labels of a chart's pods and the names of their ports. VirtRigaud's manager makes the pods of a provider:
// v0.3.11 gives the port of the health checks this name, and the chart's network policy uses the same labels.
func podsOf(objects []object) (labels map[string]string, ports []string) {
	for _, d := range all[apps.Deployment](objects) {
		for _, c := range d.Spec.Template.Spec.Containers {
			for _, p := range c.Ports {
				ports = append(ports, p.Name)
			}
		}
		return d.Spec.Selector.MatchLabels, ports
	}
	return all[networking.NetworkPolicy](objects)[0].Spec.PodSelector.MatchLabels, []string{"grpc", "metrics"}
}
