package check

import (
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/strvals"
)

// TestChartsRefuse checks that a mistake in the values is reported by name before any object is created.
func TestChartsRefuse(t *testing.T) {
	for _, tt := range []struct {
		name, chart, example, set, want string
	}{
		{"a setting that there is not", providerChart, "least.yaml", "nas.fingerprnt=00", "fingerprnt"},
		{"a path in the address", providerChart, "least.yaml", "nas.url=https://nas.example/api", "url"},
		{"an address without encryption", providerChart, "least.yaml", "nas.url=http://nas.example", "url"},
		{"no pool", providerChart, "least.yaml", "nas.datastore=", "datastore"},
		{"no key", providerChart, "least.yaml", "nas.apiKey=", "apiKey"},
		{"a password for a key", providerChart, "least.yaml", "nas.apiKey=hunter2", "apiKey"},
		{"half a fingerprint", providerChart, "least.yaml", "nas.fingerprint=00:11", "fingerprint"},
		{"a Secret and a key", providerChart, "least.yaml", "nas.existingSecret=x", "nas"},
		{"a port in the registry", providerChart, "least.yaml", "image.repository=registry.example:5000/x", "repository"},
		{"another TLS mode", providerChart, "least.yaml", "tls.mode=off", "mode"},
		{"a TLS Secret without a name", providerChart, "least.yaml", "tls.mode=existingSecret", "existingSecret"},
		{"cert-manager without an issuer", providerChart, "least.yaml", "tls.mode=certManager", "issuer"},
		{"a policy without the NAS", providerChart, "least.yaml", "networkPolicy.enabled=true", "nasCIDRs"},
		{"Redfish without accounts", providerChart, "least.yaml", "redfish.enabled=true", "accounts"},
		{"a password for a hash", providerChart, "least.yaml", "redfish.accounts[0].name=a,redfish.accounts[0].passwordHash=hunter2", "passwordHash"},
		{"Redfish on the port of the metrics", providerChart, "least.yaml", "redfish.port=8080", "port"},
		{"accounts beside a Secret", providerChart, "secrets-of-your-own.yaml", "redfish.accounts[0].name=a,redfish.accounts[0].passwordHash=$2a$12$KKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKK", "accounts"},
		{"a duration without a unit", providerChart, "least.yaml", "images.unusedFor=720", "unusedFor"},
		{"no Omni", omniChart, "one-nas.yaml", "omni.endpoint=", "omni"},
		{"no NAS", omniChart, "one-nas.yaml", "nas.url=", "url"},
		{"a pool for a dataset", omniChart, "one-nas.yaml", "nas.dataset=tank", "dataset"},
		{"a NAS and providers elsewhere", omniChart, "providers-elsewhere.yaml", "nas.url=https://nas.example", "nas"},
		{"providers without certificates", omniChart, "providers-elsewhere.yaml", "providers.tlsSecret=", "providers"},
		{"another way with orphans", omniChart, "one-nas.yaml", "orphans=shoot", "orphans"},
		{"no replica", omniChart, "one-nas.yaml", "replicas=0", "replicas"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			values := maps.Clone(examplesOf(t, tt.chart)[tt.example])
			if err := strvals.ParseInto(tt.set, values); err != nil {
				t.Fatal(err)
			}
			_, err := render(tt.chart, values)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s takes %s: %v", filepath.Base(tt.chart), tt.set, err)
			}
		})
	}
}
