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

// TestPodMonitors: there is none unless it is requested, and one that is finds the pods and the port that there are.
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
				t.Errorf("it selects %v; the pods have %v", m.Spec.Selector, labels)
			}
			if m.Labels["release"] != "kube-prometheus-stack" || len(m.Spec.PodMetricsEndpoints) != 1 {
				t.Fatalf("its labels are %v, its endpoints %v", m.Labels, m.Spec.PodMetricsEndpoints)
			}
			if e := m.Spec.PodMetricsEndpoints[0]; e.Port == nil || !slices.Contains(ports, *e.Port) || e.Path != "/metrics" || e.Interval != "30s" {
				t.Errorf("it reads %+v; the ports are %v", e, ports)
			}
		})
	}
}

// podsOf returns the labels of a chart's pods and the names of their ports. Those of a provider are made by
// VirtRigaud's manager, v0.3.11 of which calls the port of the health checks so; the chart's network policy knows the labels too.
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
