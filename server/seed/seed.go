package seed

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"sigs.k8s.io/yaml"

	"virtrigaud-provider-truenas/server/spec"
)

// label is the volume label by which cloud-init and Talos find a NoCloud seed.
const label = "cidata"

// align is the multiple, in bytes, to which a seed is padded: busybox misses smaller ones.
const align = 1 << 20

// Seed is the NoCloud data of a VM: the files of its seed ISO.
type Seed struct {
	files map[string][]byte
}

// New makes the seed for a request, or nil if the request needs none: it needs one for user data, meta data, or a network
// setting that DHCP does not provide.
func New(s spec.VM, machine string, macs []string) *Seed {
	configured := slices.ContainsFunc(s.Networks, spec.Network.Configured)
	if len(s.UserData) == 0 && len(s.MetaData) == 0 && !configured {
		return nil
	}
	userData := s.UserData
	if len(userData) == 0 {
		userData = []byte("#cloud-config\n{}\n")
	}
	files := map[string][]byte{"user-data": userData, "meta-data": metaData(s, machine)}
	if configured || len(macs) > 1 {
		files["network-config"] = networkConfig(s.Networks, macs)
	}
	return &Seed{files: files}
}

// FileName names the seed by its contents, so that a CD-ROM with this path holds this seed.
func (s *Seed) FileName() string {
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		fmt.Fprintf(sum, "%s %d\n", name, len(s.files[name]))
		sum.Write(s.files[name])
	}
	return "seed-" + hex.EncodeToString(sum.Sum(nil)[:8]) + ".iso"
}

// ISO renders the seed as an ISO 9660 image.
func (s *Seed) ISO() ([]byte, error) {
	image, err := isoImage(label, s.files)
	if err != nil {
		return nil, fmt.Errorf("seed: %w", err)
	}
	if rest := len(image) % align; rest != 0 {
		image = append(image, make([]byte, align-rest)...)
	}
	return image, nil
}

// NetworkConfig is version 2 of the network configuration of cloud-init.
type NetworkConfig struct {
	Version   int                 `json:"version"`
	Ethernets map[string]Ethernet `json:"ethernets"`
}

// Ethernet configures a NIC.
type Ethernet struct {
	Match       map[string]string   `json:"match"`
	SetName     string              `json:"set-name"`
	DHCP4       bool                `json:"dhcp4"`
	Addresses   []string            `json:"addresses,omitempty"`
	Routes      []Route             `json:"routes,omitempty"`
	Nameservers map[string][]string `json:"nameservers,omitempty"`
}

// Route is a route of a NIC.
type Route struct {
	To     string `json:"to"`
	Via    string `json:"via"`
	OnLink bool   `json:"on-link,omitempty"`
}

// networkConfig is NoCloud's network configuration, version 2. NICs are matched by their MAC address, the one thing that is the
// same inside the guest and outside. The default route is written as a prefix, because Talos does not know the word "default".
//
// Each NIC is also named: cloud-init before 22.2, as in CentOS 7 and Ubuntu 18.04, uses the key of an entry as the NIC's name if
// there is no set-name, and configures a NIC that does not exist. Talos is not affected. Its reader (package nocloud, metadata.go)
// finds the link by match.macaddress, configures it under the name that the link has already, and has no field for set-name; its
// YAML decoder ignores fields that it does not know.
func networkConfig(networks []spec.Network, macs []string) []byte {
	plan := NetworkConfig{Version: 2, Ethernets: map[string]Ethernet{}}
	for i, n := range networks {
		e := Ethernet{Match: map[string]string{"macaddress": macs[i]}, SetName: fmt.Sprintf("eth%d", i), DHCP4: !n.Static()}
		if n.Static() {
			e.Addresses = []string{n.Address.String()}
		}
		if n.Gateway.IsValid() {
			e.Routes = []Route{{To: defaultRoute(n), Via: n.Gateway.String(), OnLink: n.OnLink()}}
		}
		for _, addr := range n.DNS {
			e.Nameservers = map[string][]string{"addresses": append(e.Nameservers["addresses"], addr.String())}
		}
		plan.Ethernets[fmt.Sprintf("nic%d", i)] = e
	}
	text, _ := yaml.Marshal(plan) // Plain strings and numbers always marshal.
	return text
}

func defaultRoute(n spec.Network) string {
	if n.Gateway.Is4() {
		return "0.0.0.0/0"
	}
	return "::/0"
}
