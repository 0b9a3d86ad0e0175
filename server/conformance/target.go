package conformance

import (
	"crypto/rand"
	"strings"
	"testing"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// Target is a provider under test, with the facts about its environment that the checks need.
type Target struct {
	Client   providerv1.ProviderClient
	Prefix   string   // the prefix of the names of all VMs of the checks; empty: "conformance"
	Image    string   // image_json's Path of an image of at most 20 GiB; empty: VMs get a blank disk
	ImageURL string   // the URL of an image of at most 20 GiB that the provider can fetch; empty: none is prepared
	Network  string   // the attachment of a NIC; empty: VMs get no NIC
	Pool     string   // placement_json's Datastore; empty: the requests name none
	Staging  *Staging // the place for disk exports and imports; nil: these checks are skipped

	// Away makes the backend of the provider, such as the NAS, unavailable, and returns a function that makes it available
	// again, which may be called twice. Nil skips these checks.
	Away func() (back func())
}

// Run checks a provider against the contract. It removes every VM that it creates, also when a check fails. A prepared image
// stays, because the contract cannot remove it.
func Run(t *testing.T, target Target) {
	if target.Prefix == "" {
		target.Prefix = "conformance"
	}
	// Each run has unique names, so that leftovers of a killed run do not make this one fail.
	target.Prefix += "-" + strings.ToLower(rand.Text()[:6])
	first := &checker{T: t, target: target}
	first.offers = first.must(call(first, target.Client.GetCapabilities, &providerv1.GetCapabilitiesRequest{})).(*providerv1.GetCapabilitiesResponse)
	t.Cleanup(first.sweep)
	for _, check := range []struct {
		name string
		run  func(*checker)
	}{
		{"capabilities", checkCapabilities},
		{"validate", checkValidate},
		{"create", checkCreate},
		{"owner", checkOwner},
		{"describe", checkDescribe},
		{"power", checkPower},
		{"graceful shutdown", checkGraceful},
		{"task status", checkTasks},
		{"delete", checkDelete},
		{"list", checkList},
		{"refusals", checkRefusals},
		{"not offered", checkNotOffered},
		{"images", checkImages},
		{"snapshots", checkSnapshots},
		{"clones", checkClones},
		{"reconfigure", checkReconfigure},
		{"disk info", checkDiskInfo},
		{"disks", checkDisks},
		{"hosts", checkHosts},
		{"line 0.4", checkLine04},
		{"away", checkAway},
		{"recorded", checkRecorded},
	} {
		first.sub(check.name, check.run)
	}
}
