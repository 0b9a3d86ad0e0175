package server

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"unicode/utf8"

	"sigs.k8s.io/yaml"
)

// seedLabel is the volume label by which cloud-init and Talos find a NoCloud seed.
const seedLabel = "cidata"

// seedAlign is the multiple, in bytes, to which a seed is padded: busybox misses smaller ones.
const seedAlign = 1 << 20

// seed is the NoCloud data of a VM: the files of its seed ISO.
type seed struct {
	files map[string][]byte
}

// newSeed makes the seed that a request asks for, or nil when it asks for none: there is user
// data, meta data, or a network setting that DHCP does not give the guest.
func newSeed(s spec, machine string, nics []nic) *seed {
	configured := slices.ContainsFunc(s.networks, network.configured)
	if len(s.userData) == 0 && len(s.metaData) == 0 && !configured {
		return nil
	}
	userData := s.userData
	if len(userData) == 0 {
		userData = []byte("#cloud-config\n{}\n")
	}
	files := map[string][]byte{"user-data": userData, "meta-data": metaData(s, machine)}
	if configured || len(nics) > 1 {
		files["network-config"] = networkConfig(s.networks, nics)
	}
	return &seed{files: files}
}

// fileName names the seed by its contents, so that a CD-ROM with this path holds this seed.
func (s *seed) fileName() string {
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		fmt.Fprintf(sum, "%s %d\n", name, len(s.files[name]))
		sum.Write(s.files[name])
	}
	return "seed-" + hex.EncodeToString(sum.Sum(nil)[:8]) + ".iso"
}

// iso renders the seed as an ISO 9660 image.
func (s *seed) iso() ([]byte, error) {
	image, err := isoImage(seedLabel, s.files)
	if err != nil {
		return nil, fmt.Errorf("seed: %w", err)
	}
	if rest := len(image) % seedAlign; rest != 0 {
		image = append(image, make([]byte, seedAlign-rest)...)
	}
	return image, nil
}

// checkMetaData says whether meta_data is a YAML mapping, which is all that NoCloud takes.
func checkMetaData(text []byte) error {
	var m map[string]any
	if err := yaml.Unmarshal(text, &m); err != nil || !utf8.Valid(text) {
		return invalid("meta_data", "must be a YAML mapping in UTF-8, such as instance-id: web1")
	}
	return nil
}

// metaData is the caller's meta data, and the instance id and the host name where it has none.
func metaData(s spec, machine string) []byte {
	var given map[string]any
	_ = yaml.Unmarshal(s.metaData, &given) // It was checked with the request.
	text := bytes.TrimRight(s.metaData, "\n")
	for _, entry := range []struct{ key, value string }{{"instance-id", machine}, {"local-hostname", s.name}} {
		if _, ok := given[entry.key]; ok {
			continue
		}
		if len(text) > 0 {
			text = append(text[:len(text):len(text)], '\n')
		}
		text = fmt.Appendf(text, "%s: %q", entry.key, entry.value)
	}
	text = append(text[:len(text):len(text)], '\n')
	var whole map[string]any
	if yaml.Unmarshal(text, &whole) == nil && len(whole) >= len(given) && whole["instance-id"] != nil {
		return text
	}
	// What was given cannot be added to, such as {a: b}, or a document with an end.
	added := map[string]any{"instance-id": machine, "local-hostname": s.name}
	maps.Copy(added, given)
	text, _ = yaml.Marshal(added) // What was read from YAML can be written.
	return text
}

type netplan struct {
	Version   int                 `json:"version"`
	Ethernets map[string]ethernet `json:"ethernets"`
}

type ethernet struct {
	Match       map[string]string   `json:"match"`
	DHCP4       bool                `json:"dhcp4"`
	Addresses   []string            `json:"addresses,omitempty"`
	Routes      []route             `json:"routes,omitempty"`
	Nameservers map[string][]string `json:"nameservers,omitempty"`
}

type route struct {
	To     string `json:"to"`
	Via    string `json:"via"`
	OnLink bool   `json:"on-link,omitempty"`
}

// networkConfig is NoCloud's network configuration, version 2. NICs are matched by their MAC
// address, the one thing that is the same inside the guest and outside. The default route is
// written in figures since Talos does not know the word.
func networkConfig(networks []network, nics []nic) []byte {
	plan := netplan{Version: 2, Ethernets: map[string]ethernet{}}
	for i, n := range networks {
		e := ethernet{Match: map[string]string{"macaddress": nics[i].mac}, DHCP4: !n.static()}
		if n.static() {
			e.Addresses = []string{n.address.String()}
		}
		if n.gateway.IsValid() {
			e.Routes = []route{{To: defaultRoute(n), Via: n.gateway.String(), OnLink: n.onLink()}}
		}
		for _, addr := range n.dns {
			e.Nameservers = map[string][]string{"addresses": append(e.Nameservers["addresses"], addr.String())}
		}
		plan.Ethernets[fmt.Sprintf("nic%d", i)] = e
	}
	text, _ := yaml.Marshal(plan) // Plain strings and numbers always marshal.
	return text
}

func defaultRoute(n network) string {
	if n.gateway.Is4() {
		return "0.0.0.0/0"
	}
	return "::/0"
}
