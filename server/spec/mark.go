package spec

import (
	"crypto/sha256"
	"fmt"
	"net/url"
	"strings"

	"github.com/google/uuid"
)

// VMID is the VM's id in the contract and its SMBIOS UUID on the NAS. It is derived, so that the same Create always has the
// same id, on every replica and after every restart. TrueNAS accepts only UUIDs of version 4. A uid identifies the
// requesting object; without a uid, as for a clone, its namespace and name do.
func VMID(provider, owner, namespace, name string) string {
	seed := "name\x00" + name
	switch {
	case owner != "":
		seed = "owner\x00" + owner
	case namespace != "":
		seed = "namespaced\x00" + namespace + "\x00" + name
	}
	sum := sha256.Sum256([]byte("virtrigaud-provider-truenas\x00" + provider + "\x00" + seed))
	id, _ := uuid.FromBytes(sum[:16]) // It fails on a wrong length only.
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id.String()
}

// NICMAC returns the address of a VM's n-th NIC, locally administered and derived. TrueNAS up to 25.10 gives a NIC without an
// address a new one at every start.
func NICMAC(machine string, n int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "nic\x00%s\x00%d", machine, n))
	return fmt.Sprintf("02:%02x:%02x:%02x:%02x:%02x", sum[0], sum[1], sum[2], sum[3], sum[4])
}

// Mark records the owner of a VM. The VM's UUID is derived from the mark, and proves it. A copy of the mark is in the VM's
// description, so that the query that lists the VMs suffices to check it, and in user properties of the VM's dataset, which replace
// an edited description and a lost record.
type Mark struct {
	Provider string // the provider's id
	Owner    string // the uid of the object that requested the VM; empty when the caller sent none

	// Namespace is the namespace of the object; empty when the caller sent none, as managers before line 0.4 do, and for VMs
	// of an older provider. The VM's name on the NAS begins with it.
	Namespace string

	Name string // the name that the caller gave
	Tags []string

	// For an incomplete full clone: the id of the source VM, the host name of the clone, and its pool. With these and the rest of
	// the VM's record, any process can complete the clone.
	Source, Host, Pool string

	Boot  string // the boot source; see [bootorder.Record]
	Media string // the contents of the drive of virtual media; see [media.Record]
}

// ID returns the UUID of the mark's VM.
func (m Mark) ID() string { return VMID(m.Provider, m.Owner, m.Namespace, m.Name) }

// OnNAS returns the name of the VM and of its dataset.
func (m Mark) OnNAS() string { return QualifiedName(m.Namespace, m.Name) }

// MarkStart is the beginning of the mark in a description.
const MarkStart = " [virtrigaud:"

// Describe returns the description of a VM on the NAS: the name for users, then the mark.
func (m Mark) Describe() string { return m.DescribeAs(m.Name) }

// DescribeAs is Describe with another text for users.
func (m Mark) DescribeAs(text string) string {
	values := url.Values{"provider": {m.Provider}, "name": {m.Name}}
	if m.Owner != "" {
		values.Set("owner", m.Owner)
	}
	if m.Namespace != "" {
		values.Set("namespace", m.Namespace)
	}
	if len(m.Tags) > 0 {
		values["tag"] = m.Tags
	}
	if m.Source != "" {
		values["source"], values["host"], values["pool"] = []string{m.Source}, []string{m.Host}, []string{m.Pool}
	}
	if m.Boot != "" {
		values.Set("boot", m.Boot)
	}
	if m.Media != "" {
		values.Set("media", m.Media)
	}
	return text + MarkStart + values.Encode() + "]"
}

// ParseMark reads the mark from a description; false for a VM without a mark, and for a description that was edited beyond
// recognition.
func ParseMark(description string) (Mark, bool) {
	start := strings.LastIndex(description, MarkStart)
	if start < 0 {
		return Mark{}, false
	}
	text, ok := strings.CutSuffix(strings.TrimSpace(description[start+len(MarkStart):]), "]")
	if !ok {
		return Mark{}, false
	}
	values, err := url.ParseQuery(text)
	if err != nil || values.Get("provider") == "" {
		return Mark{}, false
	}
	return Mark{
		Provider: values.Get("provider"), Owner: values.Get("owner"), Namespace: values.Get("namespace"), Name: values.Get("name"), Tags: values["tag"],
		Source: values.Get("source"), Host: values.Get("host"), Pool: values.Get("pool"), Boot: values.Get("boot"), Media: values.Get("media"),
	}, true
}

// The user properties that make a dataset findable. Children inherit them from the dataset of
// their VM or image.
const (
	PropProvider  = "virtrigaud:provider"
	PropOwner     = "virtrigaud:owner"
	PropName      = "virtrigaud:name"
	PropNamespace = "virtrigaud:namespace"
	PropVM        = "virtrigaud:machine"
	PropDataset   = "virtrigaud:dataset" // the dataset that the others were written for; a child or a replica has another name
	PropImport    = "virtrigaud:import"  // the dataset of an imported disk that is deleted with the VM
	PropClone     = "virtrigaud:clone"   // of a full clone: its source, host name, pool and tags; [CloneComplete] when it is complete
	PropHome      = "virtrigaud:home"    // of a dataset for additional disks on another pool: the VM's own dataset
	PropPools     = "virtrigaud:pools"   // of a VM's own dataset: the other pools with additional disks, see [Pools]
)

// CloneComplete is the value of [PropClone] for a complete full clone. The property stays, because TrueNAS refuses the removal of
// an absent property.
const CloneComplete = "whole"

// Properties returns the mark as user properties of the VM's dataset.
func (m Mark) Properties(dataset string) map[string]string {
	props := map[string]string{PropProvider: m.Provider, PropName: m.Name, PropVM: m.ID(), PropDataset: dataset}
	if m.Owner != "" {
		props[PropOwner] = m.Owner
	}
	if m.Namespace != "" {
		props[PropNamespace] = m.Namespace
	}
	if m.Source != "" {
		props[PropClone] = url.Values{"source": {m.Source}, "host": {m.Host}, "pool": {m.Pool}, "tag": m.Tags}.Encode()
	}
	return props
}

// Pools returns the pools in the value of [PropPools].
func Pools(value string) []string {
	return strings.FieldsFunc(value, func(r rune) bool { return r == ',' })
}

// MarkIn reads a mark from the user properties of a VM's dataset. It returns false when they are incomplete or contradict each
// other.
func MarkIn(props map[string]string) (Mark, bool) {
	m := Mark{Provider: props[PropProvider], Owner: props[PropOwner], Namespace: props[PropNamespace], Name: props[PropName]}
	if clone, err := url.ParseQuery(props[PropClone]); err == nil {
		m.Source, m.Host, m.Pool, m.Tags = clone.Get("source"), clone.Get("host"), clone.Get("pool"), clone["tag"]
	}
	return m, m.Provider != "" && m.Name != "" && props[PropVM] == m.ID()
}
