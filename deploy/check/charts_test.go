package check

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	virtrigaud "github.com/projectbeskar/virtrigaud/api/infra.virtrigaud.io/v1beta1"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
)

const (
	providerChart = "../charts/virtrigaud-provider-truenas"
	omniChart     = "../charts/omni-infra-provider-truenas"
)

// render works like helm template: it applies the schema, and needs no cluster.
func render(chart string, values map[string]any) (map[string]string, error) {
	loaded, err := loader.Load(chart)
	if err != nil {
		return nil, err
	}
	release := chartutil.ReleaseOptions{Name: "nas", Namespace: "vms", Revision: 1, IsInstall: true}
	complete, err := chartutil.ToRenderValues(loaded, values, release, chartutil.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	return engine.Render(loaded, complete)
}

// rendered returns the manifests that a chart makes from values.
func rendered(t *testing.T, chart string, values map[string]any) []object {
	t.Helper()
	files, err := render(chart, values)
	if err != nil {
		t.Fatal(err)
	}
	var objects []object
	for _, file := range slices.Sorted(maps.Keys(files)) {
		if filepath.Ext(file) == ".yaml" {
			objects = append(objects, decode(t, file, []byte(files[file]))...)
		}
	}
	return objects
}

// examplesOf returns the files of values for the tests of a chart.
func examplesOf(t *testing.T, chart string) map[string]map[string]any {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(chart, "ci/*.yaml"))
	if err != nil || len(files) < 3 {
		t.Fatalf("%s has %d examples: %v", chart, len(files), err)
	}
	values := map[string]map[string]any{}
	for _, file := range files {
		read, err := chartutil.ReadValuesFile(file)
		if err != nil {
			t.Fatal(err)
		}
		values[filepath.Base(file)] = read
	}
	return values
}

func TestCharts(t *testing.T) {
	for _, chart := range []string{providerChart, omniChart} {
		for name, values := range examplesOf(t, chart) {
			t.Run(filepath.Base(chart)+"/"+name, func(t *testing.T) {
				for _, message := range lint.All(chart, values, "vms", true).Messages {
					if message.Severity >= support.WarningSev {
						t.Errorf("helm lint: %v", message)
					}
				}
				objects := rendered(t, chart, values)
				fit(t, name, objects)
				checkPrograms(t, name, objects)
			})
		}
	}
}

// TestEveryValueIsUsed checks that the schema has each value of values.yaml, and that a template uses each one.
func TestEveryValueIsUsed(t *testing.T) {
	for _, chart := range []string{providerChart, omniChart} {
		values, err := chartutil.ReadValuesFile(filepath.Join(chart, "values.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		templates, err := filepath.Glob(filepath.Join(chart, "templates/*"))
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		for _, file := range templates {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text.Write(content)
		}
		for name, value := range values {
			if !strings.Contains(text.String(), ".Values."+name) {
				t.Errorf("%s: %s is not used", chart, name)
			}
			below, _ := value.(map[string]any)
			for part := range below {
				if !strings.Contains(text.String(), "."+part) && name != "resources" {
					t.Errorf("%s: %s.%s is not used", chart, name, part)
				}
			}
		}
	}
}

// TestRedfishService checks that the Service leads to the provider's port, and that the network policy admits clients.
func TestRedfishService(t *testing.T) {
	objects := rendered(t, providerChart, examplesOf(t, providerChart)["everything.yaml"])
	policies, services := all[networking.NetworkPolicy](objects), all[core.Service](objects)
	if len(policies) != 1 || len(services) != 1 {
		t.Fatalf("%d policies, %d services", len(policies), len(services))
	}
	port := services[0].Spec.Ports[0]
	if !maps.Equal(services[0].Spec.Selector, policies[0].Spec.PodSelector.MatchLabels) || port.Port != port.TargetPort.IntVal {
		t.Errorf("the Service leads to %v %v", services[0].Spec.Selector, port)
	}
	listens := core.EnvVar{Name: "PROVIDER_REDFISH_LISTEN", Value: fmt.Sprintf(":%d", port.Port)}
	if env := all[virtrigaud.Provider](objects)[0].Spec.Runtime.Env; !slices.Contains(env, listens) {
		t.Errorf("the provider listens at another address: %v", env)
	}
	if !slices.ContainsFunc(policies[0].Spec.Ingress, func(rule networking.NetworkPolicyIngressRule) bool {
		return rule.Ports[0].Port.IntVal == port.Port && rule.From[0].IPBlock != nil && rule.From[0].IPBlock.CIDR == "192.0.2.0/24"
	}) {
		t.Errorf("the policy admits nothing to port %d: %v", port.Port, policies[0].Spec.Ingress)
	}
}
